"""Two groups to put people in: Reviewers decide on flags and may re-explain, Explainers may re-explain.

Django makes permissions only after all migrations have run, so that on a fresh database the two that the groups hold
are made here; it leaves alone what it then finds.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

PERMISSIONS = {
    "review_flag": ("flag", "Can decide on flagged explanations"),
    "add_job": ("job", "Can add job"),
}
GROUPS = {"Reviewers": ["review_flag", "add_job"], "Explainers": ["add_job"]}


def make_groups(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    content_types = apps.get_model("contenttypes", "ContentType").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    made = {}
    for codename, (model, name) in PERMISSIONS.items():
        content_type, _ = content_types.get_or_create(app_label="explanations", model=model)
        made[codename], _ = permissions.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
    for name, codenames in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=name)
        group.permissions.add(*(made[codename] for codename in codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("explanations", "0002_search"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    # Undone, the groups stay: people may be in them.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop, elidable=False)]
