"""SNOMED CT codes of what a segment is: the card's, or those of common names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.card import CodedConcept

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints.card import ClassInfo

__all__ = ["KNOWN", "code_text", "segment_terms"]

ANATOMY = CodedConcept(scheme="SCT", value="123037004", meaning="Anatomical Structure")
TISSUE = CodedConcept(scheme="SCT", value="85756007", meaning="Tissue")
ABNORMAL = CodedConcept(
    scheme="SCT", value="49755003", meaning="Morphologically Altered Structure"
)

KNOWN: dict[str, tuple[CodedConcept, CodedConcept]] = {
    name: (category, CodedConcept(scheme="SCT", value=value, meaning=meaning))
    for category, rows in (
        (
            ANATOMY,
            (
                ("aorta", "15825003", "Aorta"),
                ("bladder", "89837001", "Urinary bladder"),
                ("urinary bladder", "89837001", "Urinary bladder"),
                ("brain", "12738006", "Brain"),
                ("colon", "71854001", "Colon"),
                ("duodenum", "38848004", "Duodenum"),
                ("esophagus", "32849002", "Esophagus"),
                ("gallbladder", "28231008", "Gallbladder"),
                ("heart", "80891009", "Heart"),
                ("kidney", "64033007", "Kidney"),
                ("liver", "10200004", "Liver"),
                ("lung", "39607008", "Lung"),
                ("pancreas", "15776009", "Pancreas"),
                ("prostate", "41216001", "Prostate"),
                ("spinal cord", "2748008", "Spinal cord"),
                ("spleen", "78961009", "Spleen"),
                ("stomach", "69695003", "Stomach"),
                ("trachea", "44567001", "Trachea"),
            ),
        ),
        (
            ABNORMAL,
            (
                ("lesion", "52988006", "Lesion"),
                ("tumor", "108369006", "Neoplasm"),
                ("tumour", "108369006", "Neoplasm"),
            ),
        ),
    )
    for name, value, meaning in rows
}
"""Category and type of names that masks often have."""

# Files often state a type alone.
_CATEGORIES = {TISSUE.value: TISSUE} | {
    type_.value: category for category, type_ in KNOWN.values()
}


def segment_terms(info: ClassInfo) -> tuple[CodedConcept, CodedConcept]:
    """Return the coded category and type of a class.

    What the class itself states comes first, then a common name, then "Tissue" for
    both, which is also what 3D Slicer gives segments that say nothing. A type without a
    category is anatomy, unless it is known to be something else.

    Parameters
    ----------
    info : ClassInfo
        The class.
    """
    if info.type is not None:
        usual = _CATEGORIES.get(info.type.value, ANATOMY)
        return info.category or usual, info.type
    category, type_ = KNOWN.get(info.name.strip().lower(), (TISSUE, TISSUE))
    return info.category or category, type_


def code_text(concept: CodedConcept) -> str:
    """Write a code as 3D Slicer does: scheme^value^meaning."""
    parts = (concept.scheme, concept.value, concept.meaning)
    return "^".join(part.replace("^", " ") for part in parts)
