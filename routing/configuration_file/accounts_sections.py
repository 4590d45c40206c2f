"""Plan roles, principals with their members and API keys, assets and grants."""

from typing import Any

from django.contrib.auth.hashers import make_password

from accounts.keys import new_public_id
from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from routing.configuration_file import rows
from routing.configuration_file.changes import Action, FieldChange, Link, Update, differences
from routing.configuration_file.credentials import digest_keys
from routing.configuration_file.references import find_circle
from routing.configuration_file.section import SectionPlanner, leave_alone
from routing.configuration_file.shapes import Entry


class AccountsPlanner(SectionPlanner):
    def plan_all(self) -> None:
        self.roles: dict[str, Any] = dict(self.current.roles)
        self.principals: dict[str, Any] = dict(self.current.principals)
        self.assets: dict[str, Any] = dict(self.current.assets)
        self.plan_roles()
        self.plan_principals()
        self.plan_assets()
        self.plan_grants()

    def plan_roles(self) -> None:
        for entry in self.document["roles"]:
            stored = self.current.roles.get(entry["name"])
            row, _ = self.settle(
                Role,
                "roles",
                "role",
                entry,
                stored,
                stored and self.current.role_entry(stored),
                rows.role_columns,
            )
            self.roles[entry["name"]] = row

    def plan_assets(self) -> None:
        for entry in self.document["assets"]:
            stored = self.current.assets.get(entry["name"])
            row, _ = self.settle(
                Asset,
                "assets",
                "asset",
                entry,
                stored,
                stored and rows.asset_entry(stored),
                rows.asset_columns,
            )
            self.assets[entry["name"]] = row

    def plan_principals(self) -> None:
        entries = self.document["principals"]
        self.plan.problems.extend(digest_keys(entries))
        roles, principals = self.known("roles"), self.known("principals")
        changed_keys = {id(entry): self._plan_principal(entry) for entry in entries}
        for entry in entries:
            self.check_references(entry, "roles", "role", roles)
            self.check_references(entry, "members", "principal", principals)
            self._plan_links(entry, changed_keys[id(entry)])
        self._refuse_circles(entries)
        KeysPlanner(self.plan, self.current, self.prune).plan_keys(self.principals)

    def _plan_principal(self, entry: Entry) -> set[str]:
        stored = self.current.principals.get(entry["name"])
        columns = rows.principal_columns
        if stored is None:

            def columns(entry: Entry) -> rows.Entries:
                return {**rows.principal_columns(entry), "password": make_password(None)}

        row, changed = self.settle(
            Principal,
            "principals",
            "principal",
            entry,
            stored,
            stored and self.current.principal_entry(stored),
            columns,
        )
        self.principals[entry["name"]] = row
        self._check_kind(entry, row)
        # The keys of a principal are objects of their own.
        return {change.key for change in changed}

    def _check_kind(self, entry: Entry, row: Principal) -> None:
        is_group = entry["kind"] == Principal.Kind.GROUP
        if entry["members"] and not is_group:
            self.plan.problems.append(entry.problem("members", "only a group has members"))
        if entry["api_keys"] and is_group:
            self.plan.problems.append(
                entry.problem("api_keys", "a group can't hold API keys; give the key to a member")
            )
        if (row.is_staff or row.is_superuser) and entry["kind"] != Principal.Kind.USER:
            self.plan.problems.append(
                entry.problem("kind", f"{row.name} may sign in to the admin and so has to stay a user")
            )

    def _plan_links(self, entry: Entry, changed: set[str]) -> None:
        row = self.principals[entry["name"]]
        if "roles" in changed and (entry["roles"] or row.pk):
            roles = [self.roles[name] for name in entry["roles"] if name in self.roles]
            self.plan.operations.linked.append(Link(row, "roles", roles))
        if "members" in changed:
            held = self.current.memberships.get(entry["name"], {})
            for name in entry["members"]:
                if name not in held and name in self.principals:
                    self.plan.operations.create(Membership(group=row, member=self.principals[name]))
            for name, membership in held.items():
                if name not in entry["members"]:
                    self.plan.operations.removed.append(membership)

    def _refuse_circles(self, entries: list[Entry]) -> None:
        members: dict[str, Any] = {group: list(held) for group, held in self.current.memberships.items()}
        members.update({entry["name"]: entry["members"] for entry in entries})
        circle = find_circle(members)
        if not circle:
            return
        by_name = {entry["name"]: entry for entry in entries}
        entry = next((by_name[name] for name in circle if name in by_name), self.document)
        way = " holds ".join([*circle, circle[0]])
        self.plan.problems.append(entry.problem("members", f"groups in a circle: {way}"))

    def plan_grants(self) -> None:
        principals, assets = self.known("principals"), self.known("assets")
        wanted: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.document["grants"]:
            self.check_references(entry, "principal", "principal", principals)
            self.check_references(entry, "asset", "asset", assets)
            wanted.setdefault((entry["principal"], entry["asset"]), []).append(entry)
        for pair, entries in wanted.items():
            self._plan_pair(pair, entries)
        if self.prune and self.document.gave("grants"):
            for pair, held in self.current.grants.items():
                if pair not in wanted:
                    self._remove_grants(pair, held)

    def _plan_pair(self, pair: tuple[str, str], entries: list[Entry]) -> None:
        """Grants of one principal on one asset are one set, or a condition taken away in the file
        would leave the grant without it in force beside the new one."""
        held = {grant.condition: grant for grant in self.current.grants.get(pair, [])}
        matched = {id(entry): held.pop(entry["condition"], None) for entry in entries}
        left = list(held.values())
        for entry in entries:
            stored = matched[id(entry)] or (left.pop(0) if left else None)
            self.settle(
                Grant,
                "grants",
                "grant",
                entry,
                stored,
                stored and self.current.grant_entry(stored),
                lambda entry, stored=stored: self._grant_columns(entry, stored),
                label=f"{pair[0]} on {pair[1]}",
            )
        self._remove_grants(pair, left)

    def _grant_columns(self, entry: Entry, stored: Grant | None) -> rows.Entries:
        columns = rows.grant_columns(entry)
        if stored is not None:
            return columns
        # A name that isn't there has been reported; the plan is never written then.
        principal, asset = self.principals.get(entry["principal"]), self.assets.get(entry["asset"])
        return {**columns, **({"principal": principal, "asset": asset} if principal and asset else {})}

    def _remove_grants(self, pair: tuple[str, str], grants: list[Grant]) -> None:
        for grant in grants:
            self.plan.note(Action.DELETED, "grant", f"{pair[0]} on {pair[1]}")
            self.plan.operations.removed.append(grant)


class KeysPlanner(SectionPlanner):
    """Plan the API keys of principals: matched by name, else by the key itself."""

    def plan_keys(self, principals: dict[str, Any]) -> None:
        holders = {
            bytes(key.digest): (name, key)
            for name, keys in self.current.api_keys.items()
            for key in keys.values()
        }
        public_ids = {key.public_id: key for _, key in holders.values()}
        for principal in self.document["principals"]:
            if not principal.gave("api_keys"):
                continue
            held = self.current.api_keys.get(principal["name"], {})
            kept = set()
            for entry in principal["api_keys"]:
                stored = self._stored_key(principal["name"], entry, holders)
                if public_ids.get(entry["public_id"], stored) is not stored:
                    self.plan.problems.append(entry.problem("public_id", "another key has this public id"))
                kept.add(stored and stored.pk)
                self._plan_key(principals[principal["name"]], entry, stored)
            if self.prune:
                self._prune_keys([key for key in held.values() if key.pk not in kept], principal["name"])

    def _stored_key(
        self, principal: str, entry: Entry, holders: dict[bytes, tuple[str, ApiKey]]
    ) -> ApiKey | None:
        named = self.current.api_keys.get(principal, {}).get(entry["name"])
        holder, same = holders.get(entry["digest"], (principal, named))
        if holder != principal or (named is not None and same is not named):
            self.plan.problems.append(
                entry.problem("name", f"this key is stored already, as {same} of {holder}")
            )
            return named
        return named or same

    def _plan_key(self, principal: Principal, entry: Entry, stored: ApiKey | None) -> None:
        before = stored and {**rows.api_key_entry(stored), "digest": bytes(stored.digest)}
        leave_alone("api_keys", entry, before)
        label = f"{entry['name']} of {principal.name}"
        changed = differences(before, entry)
        if stored is not None and not changed:
            return
        shown = tuple(_without_digest(change) for change in changed if stored or change.key != "digest")
        action = Action.CREATED if stored is None else Action.UPDATED
        self.plan.note(action, "API key", label, shown)
        columns = rows.api_key_columns(entry)
        if stored is None:
            columns["public_id"] = columns["public_id"] or new_public_id()
            row = ApiKey(principal=principal, **columns)
            self.plan.operations.create(row)
        else:
            row = stored
            for change in changed:
                setattr(row, change.key, columns[change.key])
            self.plan.operations.updated.append(Update(row, [change.key for change in changed]))
        self.validate(row, entry)

    def _prune_keys(self, keys: list[ApiKey], principal: str) -> None:
        for key in keys:
            self.plan.note(Action.DELETED, "API key", f"{key.name} of {principal}")
            self.plan.operations.pruned.append(key)


def _without_digest(change: FieldChange) -> FieldChange:
    return FieldChange("key", "one", "another") if change.key == "digest" else change
