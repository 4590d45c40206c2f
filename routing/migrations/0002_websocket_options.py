import django.core.validators
from django.db import migrations, models

import routing.validators


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_allowed_origins",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Pages that may open one; empty: those of the same host; *: any.",
                validators=[routing.validators.validate_origins],
                verbose_name="allowed origins",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_bytes_per_second",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="bytes per second",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_idle_timeout",
            field=models.FloatField(
                blank=True,
                help_text="Seconds without a message either way.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="idle timeout",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_max_age",
            field=models.FloatField(
                blank=True,
                help_text="Seconds.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="longest life",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_max_connections",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Open at a time, in one worker process.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="connections per principal",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_max_message_bytes",
            field=models.PositiveIntegerField(
                default=1048576,
                help_text="Bytes; a larger one closes the connection with 1009.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(16777216),
                ],
                verbose_name="largest message",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_messages_per_second",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="From one client's connection. Empty: no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="messages per second",
            ),
        ),
        migrations.AddField(
            model_name="historicalroute",
            name="websocket_ping_interval",
            field=models.FloatField(
                default=20.0,
                help_text="Seconds between pings to the service; two without an answer close. 0: none.",
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(3600),
                ],
                verbose_name="ping interval",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_allowed_origins",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Pages that may open one; empty: those of the same host; *: any.",
                validators=[routing.validators.validate_origins],
                verbose_name="allowed origins",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_bytes_per_second",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="bytes per second",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_idle_timeout",
            field=models.FloatField(
                blank=True,
                help_text="Seconds without a message either way.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="idle timeout",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_max_age",
            field=models.FloatField(
                blank=True,
                help_text="Seconds.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="longest life",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_max_connections",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Open at a time, in one worker process.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="connections per principal",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_max_message_bytes",
            field=models.PositiveIntegerField(
                default=1048576,
                help_text="Bytes; a larger one closes the connection with 1009.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(16777216),
                ],
                verbose_name="largest message",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_messages_per_second",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="From one client's connection. Empty: no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="messages per second",
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="websocket_ping_interval",
            field=models.FloatField(
                default=20.0,
                help_text="Seconds between pings to the service; two without an answer close. 0: none.",
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(3600),
                ],
                verbose_name="ping interval",
            ),
        ),
        migrations.AlterField(
            model_name="historicalroute",
            name="websocket",
            field=models.BooleanField(default=False, verbose_name="WebSockets"),
        ),
        migrations.AlterField(
            model_name="route",
            name="websocket",
            field=models.BooleanField(default=False, verbose_name="WebSockets"),
        ),
    ]
