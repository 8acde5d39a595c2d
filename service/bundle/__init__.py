"""The model bundle: the contract between training and serving."""

from service.bundle.abstention import (
    ABSTAINS,
    Abstention,
    LimitReason,
    MeasuredAbstention,
    Quality,
    beyond_limits,
    measure_quality,
)
from service.bundle.base import BundleError, Interval, Probability, Record
from service.bundle.bundle import Bundle, check_target, file_sha256, load_bundle, write_bundle
from service.bundle.canary import differences, interpret, malignancy
from service.bundle.classes import DiagnosisClass, Role
from service.bundle.drift_reference import Reference, measure_reference
from service.bundle.feature_distance import (
    FeatureDistance,
    fit_feature_distance,
    fit_photographs,
    read_feature_distance,
)
from service.bundle.manifest import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    FAMILIARITY_NAME,
    FEATURES,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    SCHEMA_VERSION,
    AttentionInfluence,
    Canary,
    CanaryPrediction,
    Manifest,
    OperatingPoint,
    Provenance,
    Repeatability,
    TensorSpec,
    Variant,
)
from service.bundle.not_sure import NotSure, is_unsure

__all__ = [
    "ABSTAINS",
    "CANARY_OUTPUTS_NAME",
    "CANARY_PICTURE_NAME",
    "FAMILIARITY_NAME",
    "FEATURES",
    "MANIFEST_NAME",
    "MODEL_CARD_NAME",
    "SCHEMA_VERSION",
    "Abstention",
    "AttentionInfluence",
    "Bundle",
    "BundleError",
    "Canary",
    "CanaryPrediction",
    "DiagnosisClass",
    "FeatureDistance",
    "Interval",
    "LimitReason",
    "Manifest",
    "MeasuredAbstention",
    "NotSure",
    "OperatingPoint",
    "Probability",
    "Provenance",
    "Quality",
    "Record",
    "Reference",
    "Repeatability",
    "Role",
    "TensorSpec",
    "Variant",
    "beyond_limits",
    "check_target",
    "differences",
    "file_sha256",
    "fit_feature_distance",
    "fit_photographs",
    "interpret",
    "is_unsure",
    "load_bundle",
    "malignancy",
    "measure_quality",
    "measure_reference",
    "read_feature_distance",
    "write_bundle",
]
