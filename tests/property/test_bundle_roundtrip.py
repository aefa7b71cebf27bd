import dataclasses
import hashlib
import io
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.bundle.archive import MAX_MODEL_BYTES
from fleet.bundle.manifest import TIME_FORMAT, Manifest, Payload
from fleet.bundle.package import bundle_bytes
from fleet.bundle.reader import examine
from fleet.encoding import IntervalEncoding
from unit.bundle import bundle_samples as samples

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)
printable = st.text(min_size=1, max_size=30).filter(str.isprintable)
lengths = st.floats(0.25, 1000, width=32)
rates = st.floats(0, 1)
times = st.datetimes(datetime(1970, 1, 1)).map(lambda moment: moment.strftime(TIME_FORMAT))
later = st.dictionaries(
    st.from_regex(r"x_[a-z]{1,8}", fullmatch=True),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(2, 12))
    per_class = st.lists(lengths, min_size=count, max_size=count).map(tuple)
    encoding = IntervalEncoding(
        count,
        alpha=draw(lengths | per_class),
        beta=draw(lengths | per_class),
        s0=draw(st.floats(-1000, 1000)),
        order=draw(st.none() | st.permutations(range(count)).map(tuple)),
    )
    return {
        "device": draw(names),
        "release": draw(names),
        "encoding": encoding,
        "class_names": tuple(
            draw(st.lists(printable, min_size=count, max_size=count, unique=True))
        ),
        "created": draw(st.none() | times),
        "accuracy": draw(rates),
        "extra": draw(later),
        "buffer": draw(st.binary(max_size=200).map(lambda data: data[: len(data) // 4 * 4])),
    }


def build(drawn: dict[str, Any]) -> tuple[Manifest, bytes]:
    buffer = drawn["buffer"]
    header = {
        "__metadata__": {"format": "pt"},
        "w": samples.tensor([len(buffer) // 4], 0, len(buffer)),
    }
    model: bytes = samples.safetensors(header, buffer)
    base: Manifest = samples.manifest(model)
    manifest = dataclasses.replace(
        base,
        device=drawn["device"],
        release=drawn["release"],
        created=drawn["created"],
        encoding=drawn["encoding"],
        class_names=drawn["class_names"],
        extra=drawn["extra"],
        model=dataclasses.replace(base.model, num_classes=len(drawn["class_names"])),
        metrics=dataclasses.replace(base.metrics, accuracy=drawn["accuracy"]),
        payload=Payload(hashlib.sha256(model).hexdigest(), len(model)),
    )
    return manifest, model


@given(drawn=changes())
@settings(deadline=None, max_examples=40)
def test_any_bundle_comes_back_and_is_written_again_with_the_same_bytes(
    drawn: dict[str, Any],
) -> None:
    manifest, model = build(drawn)
    data = bundle_bytes(manifest, model)
    found = examine(io.BytesIO(data), [], max_model_bytes=MAX_MODEL_BYTES)
    assert found.manifest == manifest
    assert found.model == model
    assert bundle_bytes(found.manifest, found.model) == data
