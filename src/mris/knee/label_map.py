"""Which number of a label volume is which tissue: presets by the program that wrote it, or given by hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from mris.errors import SettingsError
from mris.knee.label_volume import MAP_NUMBERS

TISSUES = ("femur", "femoral_cartilage", "tibia", "tibial_cartilage")
"""Tissues in the order of their numbers in `Segmentation.labels`: 1, 2, 3, 4; 0 is everything else."""
BONES, CARTILAGES = ("femur", "tibia"), ("femoral_cartilage", "tibial_cartilage")
PLATES = ("medial_tibial_cartilage", "lateral_tibial_cartilage")
"""The two plates of the tibial cartilage, where a volume numbers them apart."""


@dataclass(frozen=True)
class LabelMap:
    """Which numbers of a label volume are which tissue.

    Attributes:
        numbers: Each tissue (`TISSUES`) and its numbers in the file; the tibial cartilage in one or as its `PLATES`.
            Both bones or none: bones say which side of a cartilage is which, and where bone is bare.
        ignored: Numbers that are known and not used.
        name: Of the preset; "" for numbers given by hand.

    Raises:
        SettingsError: A tissue is missing or unknown, a number is no label or used twice.

    Example:
        >>> LabelMap({"femur": (1,), "femoral_cartilage": (2,), "tibia": (3,), "tibial_cartilage": (4, 7)}).known
        (0, 1, 2, 3, 4, 7)
    """

    numbers: Mapping[str, tuple[int, ...]]
    ignored: tuple[int, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.numbers) - {*TISSUES, *PLATES})
        if unknown:
            raise SettingsError(f"labels: {unknown[0]!r} is no tissue; give {', '.join((*TISSUES, *PLATES))} or ignore")
        missing = [tissue for tissue in CARTILAGES if not self.of(tissue)]
        missing += [plate for plate in PLATES if plate not in self.numbers] if self.has_plates else []
        missing += [bone for bone in BONES if not self.of(bone)] if any(self.of(bone) for bone in BONES) else []
        if missing:
            raise SettingsError(
                f"labels: {missing[0]} has no number; both cartilages are needed, and both bones or none of them"
            )
        used = [number for numbers in self.numbers.values() for number in numbers] + list(self.ignored)
        wrong = [number for number in used if not 0 < number < 65536]
        repeated = [number for number in used if used.count(number) > 1]
        if wrong or repeated:
            fault = f"{wrong[0]} is no label" if wrong else f"{repeated[0]} stands twice"
            raise SettingsError(f"labels: {fault}; give each number from 1 to 65535 once (0 is the background)")

    def of(self, tissue: str) -> tuple[int, ...]:
        """Numbers of a tissue of `TISSUES`; those of the tibial cartilage with those of its plates."""
        parts = (tissue, *PLATES) if tissue == "tibial_cartilage" else (tissue,)
        return tuple(number for part in parts for number in self.numbers.get(part, ()))

    @property
    def has_bones(self) -> bool:
        """Whether the bones have numbers."""
        return bool(self.of("femur"))

    @property
    def has_plates(self) -> bool:
        """Whether the medial and the lateral plate of the tibial cartilage have numbers of their own."""
        return any(plate in self.numbers for plate in PLATES)

    @property
    def known(self) -> tuple[int, ...]:
        """All numbers that a file may hold, the background included."""
        return tuple(sorted({0, *self.ignored, *(n for numbers in self.numbers.values() for n in numbers)}))


_ZIB = {"femur": (1,), "femoral_cartilage": (2,), "tibia": (3,), "tibial_cartilage": (4,)}
_CARTIMORPH = {
    "femur": (1,),
    "femoral_cartilage": (2,),
    "tibia": (3,),
    "medial_tibial_cartilage": (4,),
    "lateral_tibial_cartilage": (5,),
}
_NNUNET = {
    "femur": (7,),
    "femoral_cartilage": (2,),
    "tibia": (8,),
    "medial_tibial_cartilage": (3,),
    "lateral_tibial_cartilage": (4,),
}
_SKM_TEA = {"femoral_cartilage": (2,), "lateral_tibial_cartilage": (3,), "medial_tibial_cartilage": (4,)}
_NUMBERS: dict[str, tuple[Mapping[str, tuple[int, ...]], tuple[int, ...]]] = {
    "oai_zib": (_ZIB, ()),
    "ski10": (_ZIB, ()),
    "kneeseg": (_ZIB, ()),
    # 7, 8 and 9 lie inside femur, tibia and patella (nearly all of their border is that bone): lesions of the bone, not
    # of cartilage. So they are bone; were they background, the bone side above them would be lost.
    "oai_knees": (_ZIB | {"femur": (1, 7), "tibia": (3, 8)}, (5, 6, 9)),
    "oaizib_cm": (_CARTIMORPH, ()),
    "cartimorph": (_CARTIMORPH, ()),
    "nnunet_knee": (_NNUNET, (1, 5, 6, 9)),
    "dosma_bones": (_NNUNET, (1, 5, 6, 9)),
    "skm_tea": (_SKM_TEA, (1, 5, 6)),
    "oai_analysis": (dict(zip(CARTILAGES, ((number,) for number in MAP_NUMBERS), strict=True)), ()),
}
PRESETS = {name: LabelMap(numbers, ignored, name) for name, (numbers, ignored) in _NUMBERS.items()}
"""Label numbers by the program or collection that wrote them; `oai_analysis` numbers the probability maps of that."""


def label_map(text: str) -> LabelMap:
    """Parse the name of a preset, or ``femur=1+7,femoral_cartilage=2,tibia=3,tibial_cartilage=4,ignore=5+6``.

    Raises:
        SettingsError: The text is neither.

    Example:
        >>> label_map("femur=1, femoral_cartilage=2, tibia=3+8, tibial_cartilage=4, ignore=5").numbers["tibia"]
        (3, 8)
    """
    if text in PRESETS:
        return PRESETS[text]
    numbers: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        tissue, equals, values = (piece.strip() for piece in part.partition("="))
        try:
            found = tuple(int(value) for value in values.split("+"))
        except ValueError:
            found = ()
        if not equals or not found or tissue in numbers:
            raise SettingsError(
                f"labels: {part.strip()!r} cannot be read; give {' or '.join(PRESETS)}, or each tissue once, such as "
                "femur=1+7,femoral_cartilage=2,tibia=3,tibial_cartilage=4,ignore=5+6"
            )
        numbers[tissue] = found
    ignored = numbers.pop("ignore", ())
    return LabelMap(numbers, ignored)
