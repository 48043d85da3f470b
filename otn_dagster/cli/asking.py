"""The same question at two push dates: ``compare``.

Belongs here: words and exit codes. Does not belong here: comparing (``telemetry/push/two_dates.py``).
"""

from pathlib import Path
from typing import Annotated

import typer

from otn_dagster import database
from otn_dagster.cli.options import console, node

app = typer.Typer()
MOST_ROWS = 20


@app.command()
def compare(
    earlier: Annotated[str, typer.Argument(help="A push date, e.g. 2026-10-15.")],
    later: Annotated[str, typer.Argument(help="Another one, e.g. 2027-02-18.")],
    extract: Annotated[str | None, typer.Option(help="An extract, e.g. HFX,2024,t.")] = None,
    animal: Annotated[str | None, typer.Option(help="An animal's catalogNumber, e.g. NSBS-Hooker.")] = None,
    detection: Annotated[str | None, typer.Option(help="A detection's unqDetecID.")] = None,
    into: Annotated[Path | None, typer.Option(help="A file for all rows, .csv or .parquet.")] = None,
) -> None:
    """What two pushes say of one thing, why they differ, and which file, fix or person made it so."""
    from otn_dagster.telemetry.push import because, two_dates

    with node() as config:
        answer = two_dates.compare(config.settings, earlier, later, two_dates.Subject(extract, animal, detection))
        with database.connect(config.settings) as connection:
            causes = because.causes(connection, answer)
    console.print(", ".join(f"{count:,} {change}" for change, count in answer.counts.items()), markup=False)
    for one in causes:
        console.print(f"{one.detections:,}: {one.says}" + (f" ({one.subject})" if one.subject else ""), markup=False)
    if into is not None:
        two_dates.write(answer.frame, into)
        console.print(f"{answer.frame.height:,} rows in {into}", markup=False)
    else:
        for row in answer.differing.head(MOST_ROWS).iter_rows(named=True):
            sides = [
                f"{row[f'reason_{side}'] or 'not there'} {row[f'animal_{side}'] or ''} {row[f'rcvrcatnumber_{side}'] or ''}".strip()
                for side in ("before", "after")
            ]
            console.print(
                f"  {row['transmitter']}-{row['det_key']} {row['change']}: {sides[0]} → {sides[1]}", markup=False
            )
