"""Take the patient out of a DICOM object."""

from __future__ import annotations

from typing import Any

__all__ = ["remove_identity"]

# Required elements stay, empty; dates and times are all emptied where they may be.
_EMPTIED = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_GROUPS = (0x0010, 0x0012, 0x0032, 0x0038)
"""Patient, clinical trial, request, visit: all that they hold is removed."""

_REMOVED = (
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "AdmittingDiagnosesCodeSequence",
    "AdmittingDiagnosesDescription",
    "ConsultingPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ContainerIdentifier",
    "ContributingEquipmentSequence",
    "InstitutionAddress",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "IssuerOfAccessionNumberSequence",
    "IssuerOfTheContainerIdentifierSequence",
    "NameOfPhysiciansReadingStudy",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "PhysiciansReadingStudyIdentificationSequence",
    "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "ReferencedPatientSequence",
    "ReferencedStudySequence",
    "ReferringPhysicianIdentificationSequence",
    "SpecimenDescriptionSequence",
    "StationName",
    "StudyDescription",
)
METHOD = "identity, dates, institution removed; UIDs kept"


def remove_identity(dataset: Any) -> None:
    """Empty a data set of names, numbers, dates and places of the patient.

    Identifiers (UIDs) stay: without them the mask would belong to no image. Where they
    must go too, de-identify images and mask together.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Changed in place.
    """
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        if tag.group in _GROUPS or tag.is_private or keyword_for_tag(tag) in _REMOVED:
            del dataset[tag]
    for name in _EMPTIED:
        setattr(dataset, name, "" if name != "PatientName" else None)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
