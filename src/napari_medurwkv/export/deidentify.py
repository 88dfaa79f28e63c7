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
_REMOVED = (
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "AdmissionID",
    "ClinicalTrialProtocolID",
    "ClinicalTrialSponsorName",
    "ClinicalTrialSubjectID",
    "EthnicGroup",
    "InstitutionAddress",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientAddress",
    "PatientAge",
    "PatientComments",
    "PatientSize",
    "PatientWeight",
    "PerformingPhysicianName",
    "ReferencedStudySequence",
    "RequestingPhysician",
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
    for name in _REMOVED:
        if name in dataset:
            delattr(dataset, name)
    for name in _EMPTIED:
        setattr(dataset, name, "" if name != "PatientName" else None)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
