"""The audit table, partitioned by month in PostgreSQL, and what shippers report."""

from django.db import migrations, models


def create_table(apps, schema_editor):
    """One plain table; in PostgreSQL a table partitioned by the time in the event id."""
    model = apps.get_model("auditlog", "AuditRecord")
    if schema_editor.connection.vendor != "postgresql":
        schema_editor.create_model(model)
        return
    sql, params = schema_editor.table_sql(model)
    schema_editor.execute(f"{sql} PARTITION BY RANGE (event_id)", params or None)
    for index in model._meta.indexes:
        schema_editor.add_index(model, index)


def drop_table(apps, schema_editor):
    schema_editor.delete_model(apps.get_model("auditlog", "AuditRecord"))


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="AuditRecord",
                    fields=[
                        ("event_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ("time", models.DateTimeField()),
                        ("event", models.CharField(max_length=64)),
                        ("node", models.CharField(max_length=255)),
                        ("chain", models.UUIDField()),
                        ("sequence", models.BigIntegerField()),
                        ("request_id", models.CharField(blank=True, max_length=255)),
                        ("principal", models.CharField(blank=True, max_length=255)),
                        ("route", models.CharField(blank=True, max_length=255)),
                        ("method", models.CharField(blank=True, max_length=64)),
                        ("path", models.TextField(blank=True)),
                        ("status", models.IntegerField(null=True)),
                        ("decision", models.CharField(blank=True, max_length=255)),
                        ("client_ip", models.CharField(blank=True, max_length=255)),
                        ("body", models.TextField()),
                        ("hash", models.BinaryField(max_length=32)),
                    ],
                    options={
                        "verbose_name": "audit record",
                        "ordering": ["-event_id"],
                        "indexes": [
                            models.Index(fields=["request_id", "event_id"], name="audit_request"),
                            models.Index(fields=["principal", "event_id"], name="audit_principal"),
                            models.Index(fields=["route", "event_id"], name="audit_route"),
                            models.Index(fields=["client_ip", "event_id"], name="audit_client_ip"),
                            models.Index(fields=["chain", "sequence"], name="audit_chain"),
                            models.Index(
                                fields=["event", "event_id"],
                                name="audit_event",
                                condition=models.Q(("event", "request_completed"), _negated=True),
                            ),
                            models.Index(
                                fields=["decision", "event_id"],
                                name="audit_decision",
                                condition=models.Q(("decision", "allow"), _negated=True),
                            ),
                            models.Index(
                                fields=["status", "event_id"],
                                name="audit_status",
                                condition=models.Q(("status__lt", 200), ("status__gt", 200), _connector="OR"),
                            ),
                        ],
                    },
                ),
            ],
        ),
        migrations.RunPython(create_table, drop_table),
        migrations.CreateModel(
            name="ShipperStatus",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("node", models.CharField(max_length=255)),
                ("sink", models.CharField(max_length=64)),
                ("delivered", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0, help_text="Attempts that did not succeed.")),
                (
                    "undeliverable",
                    models.BigIntegerField(default=0, help_text="Records set aside after the last attempt."),
                ),
                ("lag_seconds", models.FloatField(default=0)),
                ("spool_bytes", models.BigIntegerField(default=0)),
                ("last_error", models.TextField(blank=True)),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "audit delivery",
                "verbose_name_plural": "audit deliveries",
                "ordering": ["node", "sink"],
                "constraints": [models.UniqueConstraint(fields=("node", "sink"), name="shipper_status_once")],
            },
        ),
    ]
