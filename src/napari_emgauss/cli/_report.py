"""``emgauss report``: a result on one page."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_emgauss._errors import ConfigError
from napari_emgauss.cli._inputs import say, stem
from napari_emgauss.cli._outputs import output_path, refuse_source
from napari_emgauss.cli._progress import ProgressDisplay


def run_report_command(arguments: argparse.Namespace) -> int:
    """Gather what is known of a model, score its stack unless a score is given, and write the page."""
    model_path = Path(arguments.model)
    target = arguments.output or str(model_path.with_name(f"{stem(model_path)}.html"))
    output = output_path(arguments, "output", path=target)
    from napari_emgauss import report
    from napari_emgauss.tiles import load

    results: list[Any] = [report.read_result(path) for path in arguments.score]
    kinds = ["hidden" in one for one in results]
    if len(set(kinds)) < len(kinds):
        raise ConfigError("Two results of the same kind were given: a report shows one score and one evaluation.")
    model = load(arguments.model, device=arguments.device)
    refuse_source(model, output)
    facts = report.gather_facts(model, title=arguments.title or "", stack=arguments.stack, results=tuple(results))
    if not results and not arguments.no_score:
        try:
            report.check_can_score(facts)
        except ConfigError as error:
            raise ConfigError(f"{error} Give --score FILE, or --no-score for a report without one.") from error
        say(
            f"Scoring every second slice first: this takes {report.how_long(facts)}. Give an existing score with "
            "--score "
            "FILE, or leave it out with --no-score."
        )
        with ProgressDisplay("score", quiet=arguments.quiet) as display:
            scored = report.score_for_report(
                facts,
                device=arguments.device,
                on_progress=lambda update: display.tell(update.fraction, update.text),
            )
        facts = replace(facts, score=scored)
    report.write_report(facts, output)
    say(f"Wrote '{output}'.")
    return 0
