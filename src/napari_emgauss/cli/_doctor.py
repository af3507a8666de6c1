"""``emgauss doctor``: what is installed, what works, and what to do about what does not."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def run_doctor_command(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if a fault keeps the core from working."""
    from napari_emgauss.render import doctor

    findings = doctor()
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            print(f"{finding.topic.ljust(width)}  {finding.state.ljust(5)}  {finding.text}")
            if finding.advice:
                print(f"{' ' * width}         → {finding.advice}")
    return int(any(finding.state == "fault" for finding in findings))
