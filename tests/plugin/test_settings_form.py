from dataclasses import dataclass

from napari_emgauss.fitting import FitConfig
from napari_emgauss.plugin.tabs._settings_form import parameter_notes


@dataclass
class Documented:
    """Something.

    Parameters
    ----------
    first : int
        What the first is,
        over two lines.
    second, third : {"a", "b"}
        Shared.

    Returns
    -------
    fourth
        Not a parameter.
    """


def test_notes_of_a_numpy_docstring() -> None:
    assert parameter_notes(Documented) == {
        "first": "What the first is, over two lines.",
        "second": "Shared.",
        "third": "Shared.",
    }


def test_every_setting_of_a_fit_is_documented() -> None:
    notes = parameter_notes(FitConfig)
    assert [name for name in FitConfig.__dataclass_fields__ if name not in notes] == []
