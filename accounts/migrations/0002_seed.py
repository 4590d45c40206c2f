"""The six roles every installation starts with, and the row that numbers revisions."""

from django.db import migrations

ROLES = [
    ("admin", "Everything, user management included.", ["*:*"], 500),
    (
        "operator",
        "Read and write process data; read the configuration.",
        ["process-data:read", "process-data:write", "config:read"],
        200,
    ),
    ("engineer", "Model training and diagnostics.", ["models:*", "diagnostics:read"], 200),
    (
        "analyst",
        "Read access and reporting.",
        ["process-data:read", "models:read", "diagnostics:read", "reports:*"],
        100,
    ),
    ("service", "Machine to machine.", ["process-data:*", "machine:*"], 1000),
    ("user", "Basic read access.", ["catalog:read"], 10),
]


def seed(apps, schema_editor):
    role_model = apps.get_model("accounts", "Role")
    for name, description, permissions, rate_limit in ROLES:
        role_model.objects.get_or_create(
            name=name,
            defaults={"description": description, "permissions": permissions, "rate_limit": rate_limit},
        )
    apps.get_model("accounts", "Revision").objects.get_or_create(pk=1, defaults={"number": 1})


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
