from ._facts import Facts as Facts, gather_facts as gather_facts, read_result as read_result
from ._report import report_html as report_html, write_report as write_report
from ._scoring import (
    check_can_score as check_can_score,
    how_long as how_long,
    score_for_report as score_for_report,
)
