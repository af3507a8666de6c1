from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_emgauss as emg
from napari_emgauss import ConfigError
from napari_emgauss.cli import main
from napari_emgauss.evaluation import score
from napari_emgauss.report import gather_facts, read_result, report_html, score_for_report, write_report
from napari_emgauss.tiles import load

NAME = "a<b&c'd.ome.tif"
QUICK = {"prior": "linear", "iterations_scale": 0.002}


class Page(HTMLParser):
    """Text, tags that are open at the end, and every address that a browser would load or follow."""

    VOID = frozenset({"meta", "img", "br", "line", "polyline"})

    def __init__(self, html):
        super().__init__()
        self.text, self.open, self.addresses, self.tags = "", [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stack with a hostile name and a model of it, slice 3 left out."""
    here = tmp_path_factory.mktemp("report")
    values = np.random.default_rng(0).integers(0, 256, (9, 40, 48), dtype=np.uint8)
    size = {"PhysicalSizeX": 4, "PhysicalSizeY": 4, "PhysicalSizeZ": 40}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    tifffile.imwrite(here / NAME, values, metadata={"axes": "ZYX", **size, **units})
    stack = emg.read_stack(here / NAME, skip="3")
    emg.run_fit(stack, emg.preset("fast", **QUICK)).save(here / "model.safetensors")
    return here


@pytest.fixture
def model(folder):
    return load(folder / "model.safetensors")


@pytest.fixture(scope="module")
def scored(folder):
    return score(emg.read_stack(folder / NAME, skip="3"), methods=["linear", "nearest"]).as_dict()


def pictures(html):
    found = [address for address in Page(html).addresses if address.startswith("data:image/png;base64,")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))) for address in found]


def test_the_page_is_whole_and_loads_nothing(model, scored):
    html = report_html(gather_facts(model, results=(scored,)))
    page = Page(html)
    assert page.open == []
    assert html.startswith("<!DOCTYPE html>")
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html


def test_names_are_shown_as_they_are_and_nothing_of_them_is_markup(model, scored):
    page = Page(report_html(gather_facts(model, title="<script>alert('x')</script> & \"y\"", results=(scored,))))
    assert "<script>alert('x')</script> & \"y\"" in page.text
    assert NAME in page.text
    assert "script" not in page.tags


def test_numbers_of_the_score_stand_in_it(model, scored):
    made = json.loads(json.dumps(scored))
    made["methods"]["linear"]["metrics"]["xy"]["psnr"] = {"mean": 20.25, "low": 20.0, "high": 20.5, "count": 3}
    made["methods"]["nearest"]["metrics"]["xy"]["psnr"] = {"mean": 21.75, "low": None, "high": None, "count": 3}
    made["methods"]["linear"]["coverage"] = {"bands": [0.5, 0.9], "overall": [0.512, 0.8876]}
    text = Page(report_html(gather_facts(model, results=(made,)))).text
    assert "20.25 ±0.25" in text
    assert "+1.50 dB" in text
    assert "51.2 %" in text
    assert "88.8 %" in text
    assert "Fourier ring correlation" in text
    assert f"{made['verdict']}" in text


def test_every_line_of_the_plot_has_a_colour_of_its_own(model, scored):
    made = json.loads(json.dumps(scored))
    made["methods"]["theirs.tif"] = made["methods"]["ours.tif"] = made["methods"]["linear"]
    lines = re.findall(r'<polyline [^>]*stroke="(#[0-9a-f]{6})"', report_html(gather_facts(model, results=(made,))))
    assert len(lines) == 6 and len(set(lines)) == 6  # four methods and two thresholds


def test_what_was_left_out_is_told_and_the_paragraph_names_versions(model):
    text = Page(report_html(gather_facts(model))).text
    assert "Left out on purpose: slice 3" in text
    assert "8 slices of 40 × 48 pixels (4 × 4 nm)" in text
    assert "napari-emgauss" in text
    assert "2512.06684" in text
    assert "no slices were hidden and scored" in text


def test_the_pictures_are_linear_beside_the_model(folder, model):
    facts = gather_facts(model)
    xz_linear, xz_model, xy_linear, xy_model = pictures(report_html(facts))
    assert xz_linear.shape == xz_model.shape == (81, 48)  # 320 nm in steps of 4
    assert xy_linear.shape == xy_model.shape == (40, 48)
    # Linear interpolation halfway between two slices is their mean, up to the stretch of the contrast.
    values = tifffile.imread(folder / NAME).astype(float)
    mean = (values[4] + values[5]) / 2
    assert np.corrcoef(xy_linear.ravel(), mean.ravel())[0, 1] > 0.999


def test_the_worst_hidden_slices_are_those_with_the_lowest_psnr(model, scored):
    each = [one["psnr"] for one in scored["methods"]["nearest"]["slices"]]
    worst = scored["worst"]
    assert [one["method"] for one in worst] == [scored["best"]] * 2
    of_best = [one["psnr"] for one in scored["methods"][scored["best"]]["slices"]]
    assert [one["psnr"] for one in worst] == sorted(of_best)[:2]
    assert len(each) == 3
    truth = np.asarray(Image.open(io.BytesIO(base64.b64decode(worst[0]["png"]["truth"]))))
    assert truth.shape == (40, 48)


def test_without_the_stack_it_says_so_and_shows_the_model(model, folder, tmp_path):
    moved = replace_source(model, "/nowhere/else.tif")
    html = report_html(moved)
    assert len(pictures(html)) == 2
    assert "cannot be read any more" in Page(html).text


def replace_source(model, source):
    facts = gather_facts(model)
    return replace(facts, own=None, why_not_own=f"The stack '{source}' cannot be read any more.")


def test_the_score_is_that_of_the_fit(model):
    found = score_for_report(gather_facts(model))
    assert list(found["methods"]) == ["linear", "ensemble", "emgauss"]
    assert found["methods"]["emgauss"]["about"]["settings"]["iterations_scale"] == QUICK["iterations_scale"]
    assert found["hidden"] == [1, 3, 5]


@pytest.mark.parametrize(
    "text", ["[1]", "{}", "not json", '{"methods": 3, "hidden": []}', '{"methods": {"a": 1}, "factor": 8, "kept": 3}']
)
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "score.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a result to report"):
        read_result(tmp_path / "score.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made["methods"]["linear"]["metrics"]["xy"].update(psnr=3),
        lambda made: made["methods"]["linear"]["resolution"]["xy"].pop("limit_nm"),
        lambda made: made["worst"][0]["png"].update(truth="<script>"),
        lambda made: made["methods"]["linear"].update(coverage={"bands": "x"}),
    ],
    ids=["number", "limit", "picture", "coverage"],
)
def test_a_result_changed_by_hand_is_refused_in_one_sentence(model, scored, change):
    made = json.loads(json.dumps(scored))
    change(made)
    with pytest.raises(ConfigError, match="cannot be shown"):
        report_html(gather_facts(model, results=(made,)))


def test_an_old_score_without_intervals_still_makes_a_page(model, scored):
    made = {**scored, "methods": {name: {"psnr": 20.0, "slices": []} for name in scored["methods"]}}
    made.pop("worst")
    assert Page(report_html(gather_facts(model, results=(made,)))).open == []


def test_it_is_written_whole(model, tmp_path, monkeypatch):
    write_report(gather_facts(model), tmp_path / "page.html")
    before = (tmp_path / "page.html").read_bytes()
    assert before.startswith(b"<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_command_makes_a_report_with_a_score_that_is_there(folder, scored, tmp_path, capsys):
    (tmp_path / "score.json").write_text(json.dumps(scored))
    model = folder / "model.safetensors"
    arguments = ["report", str(model), "-o", str(tmp_path / "out.html"), "--score", str(tmp_path / "score.json")]
    assert main(arguments) == 0
    psnr = scored["methods"]["linear"]["metrics"]["xy"]["psnr"]["mean"]
    assert f"{psnr:.2f}" in Page((tmp_path / "out.html").read_text(encoding="utf-8")).text
    assert main(arguments) == 2
    assert "already exists" in capsys.readouterr().err


def test_the_command_says_how_long_a_score_takes_and_makes_one(folder, tmp_path, capsys):
    assert main(["report", str(folder / "model.safetensors"), "-o", str(tmp_path / "out.html"), "-q"]) == 0
    assert "about as long as the fit did" in capsys.readouterr().err
    assert "Hidden slices of" in Page((tmp_path / "out.html").read_text(encoding="utf-8")).text


@pytest.mark.parametrize("given", ["model.safetensors", NAME, "score.json"])
def test_the_command_never_writes_over_what_it_reads(folder, scored, given, capsys):
    (folder / "score.json").write_text(json.dumps(scored))
    before = (folder / given).read_bytes()
    model, output = str(folder / "model.safetensors"), str(folder / given)
    assert main(["report", model, "-o", output, "--score", str(folder / "score.json"), "--force"]) == 2
    assert (folder / given).read_bytes() == before
    assert "never overwritten" in capsys.readouterr().err


def test_two_results_of_one_kind_are_refused(folder, scored, tmp_path, capsys):
    (tmp_path / "score.json").write_text(json.dumps(scored))
    given = ["--score", str(tmp_path / "score.json")]
    model = str(folder / "model.safetensors")
    assert main(["report", model, "-o", str(tmp_path / "out.html"), *given, *given]) == 2
    assert "one score and one evaluation" in capsys.readouterr().err
    assert not (tmp_path / "out.html").exists()
