from ._bring_back import BackMethod as BackMethod, bring_back as bring_back, write_slices as write_slices
from ._carry import CarriedLabels as CarriedLabels
from ._methods import CARRY_METHODS as CARRY_METHODS, CarryMethod as CarryMethod
from ._score import (
    Interval as Interval,
    LabelAgreement as LabelAgreement,
    LabelScore as LabelScore,
    agreement as agreement,
    score_labels as score_labels,
)
from ._source import LabelledSlices as LabelledSlices, label_slices as label_slices, read_labels as read_labels
from ._write import export_labels as export_labels
