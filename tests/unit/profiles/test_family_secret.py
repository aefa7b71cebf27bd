"""Values that ``auto`` draws, and the file that they follow from."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from fleet.encoding import IntervalEncoding
from fleet.errors import FleetWarning, ProfileError
from fleet.profiles import FamilySpec, ProfileFileError, load_profile, secret_path
from fleet.profiles import secret as secret_module
from fleet.profiles.secret import FamilySecret, NewSecret, read_secret

HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: .}\n"
KEY = "00112233445566778899aabbccddeeff" * 2


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "cams.yaml"


def write_secret(path: Path, text: str = KEY, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="ascii")
    path.chmod(mode)
    return path


def load(profile: Path, devices: str) -> FamilySpec:
    profile.write_text(HEAD + devices, encoding="utf-8")
    return load_profile(profile)


def secret_of(profile: Path) -> Path:
    return secret_path(profile, "fam")


def new_at(path: Path) -> NewSecret:
    return NewSecret(path, FamilySecret(bytes.fromhex(KEY[::-1])))


def encoding_of(family: FamilySpec, device: str) -> IntervalEncoding:
    encoding = family.device(device).encoding
    assert encoding is not None
    return encoding


def test_a_profile_is_read_without_making_a_secret_which_is_written_when_kept(
    profile: Path,
) -> None:
    first = load(profile, "devices: [{name: a, encoding: auto}]\n")
    assert [path.name for path in profile.parent.iterdir()] == ["cams.yaml"]
    assert first.new_secret is not None
    assert load_profile(profile) != first
    assert (first.new_secret.keep(), first.new_secret.keep()) == (True, False)
    secret = profile.with_name("fam.secret")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(bytes.fromhex(secret.read_text(encoding="ascii"))) == 32
    again = load_profile(profile)
    assert (again, again.new_secret) == (first, None)
    assert sorted(path.name for path in profile.parent.iterdir()) == ["cams.yaml", "fam.secret"]


def test_no_secret_is_drawn_from_where_nothing_is_auto(profile: Path) -> None:
    family = load(profile, "devices: [{name: a, encoding: {alpha: 4, beta: 16}}]\n")
    assert (family.secret, family.new_secret) == (None, None)


def test_a_renamed_or_copied_profile_draws_what_it_drew_before(profile: Path) -> None:
    write_secret(profile.with_name("fam.secret"))
    first = load(profile, "devices: [{name: a, encoding: auto}]\n")
    copy = profile.with_name("other.yaml")
    copy.write_text(profile.read_text("utf-8"), "utf-8")
    decoy = write_secret(profile.with_name("other.secret"), KEY[::-1])
    assert load_profile(copy) == first
    decoy.unlink()
    copy.write_text(copy.read_text("utf-8").replace("name: fam", "name: new"), "utf-8")
    assert encoding_of(load_profile(copy), "a") != encoding_of(first, "a")


def test_a_secret_that_bears_the_name_of_the_file_is_taken_by_nobody_until_it_is_renamed(
    profile: Path,
) -> None:
    """It may be one of before, or that of another family, whose values none may share."""
    doubtful = write_secret(profile.with_name("cams.secret"))
    family = "devices: [{name: a, encoding: auto}]\n"
    with pytest.raises(ProfileFileError, match="of this family or of another") as raised:
        load(profile, family)
    named = secret_of(profile)
    assert f"mv {doubtful} {named}" in (raised.value.hint or "")
    assert load_profile(profile, secret=named).new_secret is not None
    doubtful.rename(named)
    assert load_profile(profile).secret == FamilySecret(bytes.fromhex(KEY)).fingerprint


def test_draws_follow_from_the_secret_and_the_name_alone(profile: Path) -> None:
    write_secret(secret_of(profile))
    alone = load(profile, "devices: [{name: b, encoding: auto}]\n")
    among = load(
        profile,
        "defaults: {encoding: auto}\n"
        "devices: [{name: a}, {name: b, training: {seed: 9}}, {name: c}]\n",
    )
    assert encoding_of(alone, "b") == encoding_of(among, "b")
    assert len({encoding_of(among, name).canonical() for name in "abc"}) == 3
    write_secret(secret_of(profile), KEY[::-1])
    assert encoding_of(load_profile(profile), "b") != encoding_of(alone, "b")


def test_known_secret_gives_the_draws_that_it_always_gave(profile: Path) -> None:
    """A later fleet must not draw other encodings for devices that are in the field."""
    write_secret(secret_of(profile))
    family = load(profile, "devices: [{name: cam-01, encoding: auto}]\n")
    assert encoding_of(family, "cam-01") == IntervalEncoding(
        10, 0.6964, 5.139, s0=21.05, order=(4, 9, 8, 2, 6, 0, 3, 5, 7, 1)
    )


def test_a_written_field_does_not_change_what_is_drawn_for_the_others(profile: Path) -> None:
    write_secret(secret_of(profile))
    drawn = encoding_of(load(profile, "devices: [{name: a, encoding: auto}]\n"), "a")
    mixed = load(profile, "devices: [{name: a, encoding: {alpha: 4, beta: auto, order: auto}}]\n")
    encoding = encoding_of(mixed, "a")
    assert mixed.devices[0].drawn == ("beta", "order")
    assert (encoding.alpha, encoding.s0, encoding.order) == (4.0, 0.0, drawn.order)
    ratio = drawn.beta / (drawn.alpha + drawn.beta)
    assert encoding.beta / (4 + encoding.beta) == pytest.approx(ratio, rel=1e-3)
    gap = encoding_of(
        load(profile, "devices: [{name: a, encoding: {alpha: auto, beta: 16}}]\n"), "a"
    )
    assert 16 / (gap.alpha + 16) == pytest.approx(ratio, rel=1e-3)


def test_a_drawn_length_beside_a_list_takes_the_scale_of_its_mean(profile: Path) -> None:
    devices = (
        "devices: [{name: a, encoding: {alpha: auto, beta: [8, 24, 8, 24, 8, 24, 8, 24, 8, 24]}}]"
    )
    encoding = encoding_of(load(profile, devices), "a")
    assert 0.7 - 1e-3 <= 16 / (encoding.alpha + 16) <= 0.9 + 1e-3


def test_draws_stay_in_their_ranges_and_readable(profile: Path) -> None:
    devices = "".join(f"  - {{name: d{i}, encoding: auto}}\n" for i in range(200))
    family = load(profile, "devices:\n" + devices)
    encodings = [encoding_of(family, f"d{i}") for i in range(200)]
    ratios = [e.beta / (e.alpha + e.beta) for e in encodings]
    assert 0.699 <= min(ratios) < 0.72
    assert 0.88 < max(ratios) <= 0.901
    assert all(3.99 <= e.alpha + e.beta <= 64.1 for e in encodings)
    assert all(-100 <= e.s0 <= 100 for e in encodings)
    assert len({e.order for e in encodings}) >= 198  # of 10! orders; two alike are rare
    values = [value for e in encodings for value in (e.alpha, e.beta, e.s0)]
    assert all(float(f"{value:.4g}") == value for value in values)


def test_every_permutation_is_equally_likely() -> None:
    secret = FamilySecret(bytes.fromhex(KEY))
    counts = Counter(secret.permutation(f"device-{i}", 3) for i in range(6000))
    assert len(counts) == 6
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_squared < 20.5  # 0.1 % point for 5 degrees of freedom


def test_uniform_draws_fill_the_unit_interval() -> None:
    secret = FamilySecret(bytes.fromhex(KEY))
    draws = sorted(secret.uniform(f"device-{i}", "ratio") for i in range(2000))
    gaps = [abs(draw - (i + 0.5) / 2000) for i, draw in enumerate(draws)]
    assert max(gaps) < 1.95 / 2000**0.5  # Kolmogorov-Smirnov, 0.1 % point


def test_two_orders_of_two_classes_are_one_up_to_reversal(profile: Path) -> None:
    text = (
        "version: 1\nname: x\ndata: {dataset: folder, root: ., classes: 2, channels: 1}\n"
        "defaults: {encoding: {alpha: 4, beta: 16, order: auto}}\n"
        "devices: [{name: a}, {name: b}]\n"
    )
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match="'b' is equivalent to that of 'a'"):
        load_profile(profile)


def test_drawn_values_do_not_appear_in_errors_or_redacted_forms(profile: Path) -> None:
    write_secret(secret_of(profile))
    family = load(profile, "devices: [{name: a, encoding: {alpha: auto, beta: auto, s0: 1}}]\n")
    encoding = encoding_of(family, "a")
    plain = family.redacted()["devices"][0]["encoding"]
    assert (plain["alpha"], plain["beta"], plain["s0"]) == ("auto", "auto", 1.0)
    assert family.to_dict()["devices"][0]["encoding"]["alpha"] == encoding.alpha
    bad = "devices: [{name: a, encoding: {alpha: auto, beta: 1.e-3, s0: 1.e+9}}]\n"
    with pytest.raises(ProfileError, match="drawn values do not fit the written ones") as caught:
        load(profile, bad)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_secret_does_not_show_in_its_repr() -> None:
    assert repr(FamilySecret(bytes.fromhex(KEY))) == "FamilySecret()"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644])
def test_a_secret_that_others_can_touch_is_refused(profile: Path, mode: int) -> None:
    write_secret(secret_of(profile), mode=mode)
    with pytest.raises(ProfileFileError, match=f"open to others \\(mode {mode:04o}\\)") as caught:
        load(profile, "devices: [{name: a, encoding: auto}]\n")
    assert "chmod 600" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "secret", KEY[:-2], KEY + "00", "zz" * 32, KEY[:-1] + "é"])
def test_what_is_no_secret_is_refused_and_kept(profile: Path, text: str) -> None:
    path = secret_of(profile)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ProfileFileError, match="is not a family secret") as caught:
        load(profile, "devices: [{name: a, encoding: auto}]\n")
    assert path.read_text(encoding="utf-8") == text
    assert KEY[:16] not in caught.value.message


def test_a_pipe_or_a_directory_is_no_secret(profile: Path) -> None:
    os.mkfifo(secret_of(profile), 0o600)
    with pytest.raises(ProfileFileError, match="is not a family secret"):
        load(profile, "devices: [{name: a, encoding: auto}]\n")
    with pytest.raises(ProfileFileError, match="cannot read family secret"):
        load_profile(profile, secret=profile.parent)


def test_another_file_may_hold_the_secret(profile: Path, tmp_path: Path) -> None:
    other = write_secret(tmp_path / "elsewhere.secret")
    profile.write_text(HEAD + "devices: [{name: a, encoding: auto}]\n", encoding="utf-8")
    assert load_profile(profile, secret=other) == load_profile(profile, secret=other)
    assert not secret_of(profile).exists()


def test_a_secret_that_another_process_made_meanwhile_stays_and_is_told(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "family.secret")
    with pytest.raises(ProfileFileError, match="another process made") as caught:
        new_at(path).keep()
    assert "run the command again" in str(caught.value.hint)
    assert read_secret(path) == FamilySecret(bytes.fromhex(KEY))
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_nothing_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "family.secret"
    path.symlink_to("nowhere")
    with pytest.raises(ProfileFileError, match="is a link to nothing"):
        new_at(path).keep()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_secret_is_made_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "family.secret"
    new = new_at(path)
    assert new.keep()
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == new.secret
    assert not secret_module._create_plainly(path, "other")  # another process, a moment later
    assert read_secret(path) == new.secret


def test_a_file_system_without_modes_is_said_and_the_secret_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network share, where every file shows the mode 0777."""
    real = os.fstat

    def open_to_all(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        return os.stat_result((found.st_mode | 0o777, *found[1:]))

    monkeypatch.setattr(os, "fstat", open_to_all)
    path = tmp_path / "family.secret"
    with pytest.warns(FleetWarning, match="keeps no permission bits"):
        assert new_at(path).keep()
    with pytest.warns(FleetWarning, match="keeps no permission bits"):
        assert read_secret(path) == new_at(path).secret


def test_a_secret_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileFileError, match="cannot read family secret"):
        read_secret(tmp_path / "file" / "family.secret")
