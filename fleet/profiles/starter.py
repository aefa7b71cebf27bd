"""The commented profile that ``fleet profiles new`` writes."""

from __future__ import annotations

import json
import string
from importlib import resources

from fleet.profiles.data_section import DATASETS
from fleet.vocabulary import DatasetName

_FOLDER_FACTS = """\
  classes: 10  # number of directories, one for each class
  channels: 3  # 1 (grey) or 3 (colour)
"""


def template(
    name: str, *, dataset: DatasetName = "mnist", devices: int = 4, root: str = "../data"
) -> str:
    """Write a starter profile.

    Args:
        name: Name of the family.
        dataset: Dataset name.
        devices: How many devices to list.
        root: Where the dataset lies, relative to the profile.

    Returns:
        YAML with comments; valid as it stands.
    """
    facts = DATASETS[dataset]
    digits = max(2, len(str(devices)))
    text = resources.files("fleet.profiles").joinpath("templates/starter.yaml").read_text("utf-8")
    return string.Template(text).substitute(
        name=json.dumps(name, ensure_ascii=False),
        dataset=dataset,
        root=json.dumps(root, ensure_ascii=False),
        facts=_FOLDER_FACTS if facts.num_classes is None else "",
        architecture="nn" if facts.image_size < 64 else "resnet18",
        devices="".join(f"  - name: device-{i:0{digits}d}\n" for i in range(1, devices + 1)),
        order=[3 * y % 10 for y in range(10)],
    )
