"""Number every configuration change, in the transaction that makes it.

A data plane compares one number a second (`current_revision`) and reads only the rows that the
changes since its own number name. The number is one row that every writer updates: its row lock
makes revision order commit order, so a reader that has seen N can never miss a change before N.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.db import models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

# Changes older than this are forgotten; a reader further behind reads everything anew.
KEPT_REVISIONS = 50_000

# Columns that say what a principal or key did, not what it may do.
UNWATCHED_FIELDS = frozenset({"last_login", "last_used_at"})


class Revision(models.Model):
    """The one row that holds the number of the newest committed configuration."""

    number = models.BigIntegerField(default=0)

    class Meta:
        app_label = "accounts"

    def __str__(self) -> str:
        return str(self.number)


class Change(models.Model):
    """One row that a revision touched: `kind` is the model's label, `object_id` its key as text."""

    revision = models.BigIntegerField(db_index=True)
    kind = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)

    class Meta:
        app_label = "accounts"

    def __str__(self) -> str:
        return f"{self.revision}: {self.kind} {self.object_id}"


class ChangeKey(NamedTuple):
    kind: str
    object_id: str


_batch: ContextVar[set[ChangeKey] | None] = ContextVar("revision_batch", default=None)
_listeners: list[Callable[[int], None]] = []


def on_new_revision(listener: Callable[[int], None]) -> None:
    """Call `listener(number)` in this process after each commit that bumped the revision."""
    _listeners.append(listener)


def current_revision() -> int:
    number = Revision.objects.filter(pk=1).values_list("number", flat=True).first()
    return number or 0


def record_change(kind: str, object_id: Any) -> None:
    """Note that a configuration row changed; call it inside the transaction that changes it."""
    key = ChangeKey(kind, str(object_id))
    batch = _batch.get()
    if batch is not None:
        batch.add(key)
        return
    with transaction.atomic():
        _write_changes({key})


@contextmanager
def one_revision() -> Iterator[None]:
    """Gather every change made inside into one revision; opens a transaction of its own."""
    if _batch.get() is not None:
        yield
        return
    changes: set[ChangeKey] = set()
    token = _batch.set(changes)
    try:
        with transaction.atomic():
            yield
            if changes:
                _write_changes(changes)
    finally:
        _batch.reset(token)


def _write_changes(changes: set[ChangeKey]) -> None:
    updated = Revision.objects.filter(pk=1).update(number=models.F("number") + 1)
    if not updated:
        Revision.objects.get_or_create(pk=1, defaults={"number": 0})
        Revision.objects.filter(pk=1).update(number=models.F("number") + 1)
    number = current_revision()
    Change.objects.bulk_create(
        [Change(revision=number, kind=key.kind, object_id=key.object_id) for key in sorted(changes)]
    )
    if number % 1000 == 0:
        Change.objects.filter(revision__lt=number - KEPT_REVISIONS).delete()
    transaction.on_commit(lambda: _announce(number))


def _announce(number: int) -> None:
    for listener in _listeners:
        listener(number)


def watch(*watched: type[models.Model]) -> None:
    """Record a change whenever a row of these models is saved, deleted or re-linked."""
    for model in watched:
        post_save.connect(_saved, sender=model, dispatch_uid=f"revision-save-{model._meta.label}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"revision-delete-{model._meta.label}")
        for relation in model._meta.many_to_many:
            if relation.model is model:
                m2m_changed.connect(
                    _relinked,
                    sender=getattr(model, relation.name).through,
                    dispatch_uid=f"revision-m2m-{model._meta.label}-{relation.name}",
                )


def _saved(sender: type[models.Model], instance: models.Model, update_fields: Any = None, **_: Any) -> None:
    if update_fields and UNWATCHED_FIELDS.issuperset(update_fields):
        return
    for key in _subjects(instance):
        record_change(*key)


def record_rows(rows: Iterable[models.Model]) -> None:
    """Note rows that were written in bulk, past the signals."""
    for row in rows:
        for key in _subjects(row):
            record_change(*key)


def _deleted(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    for key in _subjects(instance):
        record_change(*key)


def _subjects(instance: models.Model) -> set[ChangeKey]:
    """The rows to read anew: a grant or a membership is part of its principal."""
    named = getattr(instance, "revision_subjects", None)
    return named() if named else {ChangeKey(instance._meta.label, str(instance.pk))}


def _relinked(
    sender: Any, instance: models.Model, action: str, reverse: bool, pk_set: Any, model: Any, **_: Any
) -> None:
    if not action.startswith("post_") and action != "pre_clear":
        return
    if not reverse:
        record_change(instance._meta.label, instance.pk)
        return
    # role.principals.set(...): the rows that changed are at the other end.
    for key in _linked(sender, instance, model) if action == "pre_clear" else pk_set or ():
        record_change(model._meta.label, key)


def _linked(through: Any, instance: models.Model, model: Any) -> list[Any]:
    """Keys of the `model` rows that a clear() from the far side is about to cut off: it names none."""
    columns = {field.related_model: field.attname for field in through._meta.fields if field.is_relation}
    rows = through.objects.filter(**{columns[type(instance)]: instance.pk})
    return list(rows.values_list(columns[model], flat=True))
