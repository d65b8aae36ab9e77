"""The benchmark's table twice, recorded by django-pghistory at either level.

Every setting is pghistory's default, but two: an update keeps the OLD row, as this
project does, and deletes are recorded besides inserts and updates.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

import pghistory
import pgtrigger
from django.db import models


def _trackers() -> tuple[pghistory.Tracker, ...]:
    return (
        pghistory.InsertEvent(),
        pghistory.UpdateEvent(row=pghistory.Old),
        pghistory.DeleteEvent(),
    )


class Columns(models.Model):
    """The eight columns, as `benchmarks/tables.py` spells them in SQL."""

    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    email = models.TextField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    active = models.BooleanField()
    quantity = models.IntegerField()
    updated = models.DateTimeField()
    note = models.TextField()

    class Meta:
        abstract = True


@pghistory.track(*_trackers(), level=pgtrigger.Row)
class RowLevel(Columns):
    """Recorded by row triggers."""

    class Meta:
        db_table = "peer_row"


@pghistory.track(*_trackers(), level=pgtrigger.Statement)
class StatementLevel(Columns):
    """Recorded by statement triggers."""

    class Meta:
        db_table = "peer_statement"
