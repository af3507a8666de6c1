from ._bring_back import (
    BackMethod as BackMethod,
    bring_back as bring_back,
    depths_covered as depths_covered,
    write_slices as write_slices,
)
from ._carry import CarriedLabels as CarriedLabels
from ._choose import carry_labels as carry_labels, choose_method as choose_method
from ._container import holds_image as holds_image
from ._depths_in_file import depths_in_file as depths_in_file
from ._methods import (
    CARRY_CHOICES as CARRY_CHOICES,
    CARRY_METHODS as CARRY_METHODS,
    CarryChoice as CarryChoice,
    CarryMethod as CarryMethod,
)
from ._score import (
    Interval as Interval,
    LabelAgreement as LabelAgreement,
    LabelScore as LabelScore,
    agreement as agreement,
    score_labels as score_labels,
)
from ._source import (
    LabelledSlices as LabelledSlices,
    label_slices as label_slices,
    move_slice as move_slice,
    notes_on_labels as notes_on_labels,
    read_labels as read_labels,
)
from ._write import export_labels as export_labels
