"""Users, service principals and groups by the SDK, and what being in a group gives."""

from __future__ import annotations

from urllib.parse import quote

from aids.databricks.place import PLAIN_TOKEN, Sdk, call

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import PLAIN
from mlport_databricks.emulator.storing.principals import OWN_GROUPS

SCIM = "/api/2.0/preview/scim/v2"
PATCH = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]


def test_the_sdk_makes_finds_changes_and_deletes_principals(sdk: Sdk) -> None:
    program = """
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.errors import NotFound, ResourceConflict
        from databricks.sdk.service import iam

        w = WorkspaceClient()
        user = w.users.create(user_name="Ann@example.com", display_name="Ann")
        spn = w.service_principals.create(display_name="robot", entitlements=[iam.ComplexValue(value="workspace-access")])
        outer = w.groups.create(display_name="outer")
        inner = w.groups.create(display_name="inner", members=[iam.ComplexValue(value=user.id)])
        schemas = [iam.PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP]
        w.groups.patch(outer.id, operations=[iam.Patch(op=iam.PatchOp.ADD, value={"members": [{"value": inner.id}]})], schemas=schemas)
        w.users.patch(user.id, schemas=schemas, operations=[
            iam.Patch(op=iam.PatchOp.REPLACE, path="active", value="false"),
            iam.Patch(op=iam.PatchOp.ADD, path="entitlements", value=[{"value": "allow-cluster-create"}, {"value": "workspace-access"}]),
            iam.Patch(op=iam.PatchOp.REMOVE, path='entitlements[value eq "workspace-access"]'),
        ])
        found = next(w.users.list(filter='userName eq "ann@EXAMPLE.com" and active eq false'))
        print(found.active, [each.value for each in found.entitlements], sorted((each.display, each.type) for each in found.groups))
        print([each.display for each in w.groups.get(outer.id).members], spn.active, len(spn.application_id))
        print([each.user_name for each in w.users.list(attributes="userName", sort_by="userName", sort_order=iam.ListSortOrder.DESCENDING)])
        for again in (lambda: w.users.create(user_name="ann@example.com"), lambda: w.groups.create(display_name="inner")):
            try:
                again()
            except ResourceConflict as error:
                print(error)
        w.users.update(user.id, user_name="Ann@example.com", display_name="Anna", active=True)
        print(w.users.get(user.id).display_name, w.users.get(user.id).entitlements or [])
        w.users.delete(user.id)
        print(w.groups.get(inner.id).members or [])
        try:
            w.users.get(user.id)
        except NotFound as error:
            print(error.error_code)
    """
    assert sdk(program).splitlines() == [
        "False ['allow-cluster-create'] [('inner', 'direct'), ('outer', 'indirect'), ('users', 'direct')]",
        "['inner'] True 36",
        "['plain@emulated.example', 'admin@emulated.example', 'Ann@example.com']",
        "uniqueness User with email ann@example.com already exists in this account.",
        "uniqueness Group with name inner already exists.",
        "Anna []",
        "[]",
        "SCIM_404",
    ]


def test_what_cannot_be_done_is_told(emulator: Ready) -> None:
    def refused(method: str, path: str, body: object = None, token: str = "") -> tuple[int, str]:
        status, said = call(emulator, method, SCIM + path, body, **({"token": token} if token else {}))
        return status, str(said.get("detail", said.get("message")))

    def patch(name: str, value: object) -> dict[str, object]:
        return {"schemas": PATCH, "Operations": [{"op": "add", "path": name, "value": value}]}

    plain, admins = f"/Users/{PLAIN.id}", f"/Groups/{OWN_GROUPS['admins']}"
    assert refused("POST", "/Users", {"userName": "x@example.com"}, PLAIN_TOKEN)[0] == 403
    assert refused("POST", "/Users", {"userName": "nobody"}) == (400, "The user name 'nobody' is not an e-mail address.")
    assert refused("DELETE", plain)[0] == 403
    assert refused("PATCH", plain, patch("active", "false"))[0] == 403
    assert "cannot change who is in the group admins" in refused("PATCH", admins, patch("members", [{"value": str(PLAIN.id)}]))[1]
    assert "There is no entitlement 'fly'" in refused("PATCH", plain, patch("entitlements", [{"value": "fly"}]))[1]
    assert "cannot be patched" in refused("PATCH", plain, patch("shoeSize", 45))[1]
    assert "There is no user" in refused("POST", "/Groups", {"displayName": "g", "members": [{"value": "1"}]})[1]
    assert refused("GET", f"/Users?filter={quote('userName is x')}")[0] == 400


def test_what_is_granted_to_a_group_holds_for_who_is_in_it(emulator: Ready) -> None:
    listed = "/api/2.1/unity-catalog/volumes?catalog_name=main&schema_name=ml"
    _, group = call(emulator, "POST", f"{SCIM}/Groups", {"displayName": "readers"})
    for kind, name, privilege in (
        ("catalog", "main", "USE_CATALOG"),
        ("schema", "main.ml", "USE_SCHEMA"),
        ("schema", "main.ml", "READ_VOLUME"),
    ):
        change = {"changes": [{"principal": "readers", "add": [privilege]}]}
        assert call(emulator, "PATCH", f"/api/2.1/unity-catalog/permissions/{kind}/{name}", change)[0] == 200
    assert not call(emulator, "GET", listed, token=PLAIN_TOKEN)[1].get("volumes")
    members = [{"op": "add", "path": "members", "value": [{"value": str(PLAIN.id)}]}]
    assert call(emulator, "PATCH", f"{SCIM}/Groups/{group['id']}", {"schemas": PATCH, "Operations": members})[0] == 200
    assert [each["name"] for each in call(emulator, "GET", listed, token=PLAIN_TOKEN)[1]["volumes"]] == ["mlport"]
    change = {"changes": [{"principal": "nobodies", "add": ["USE_CATALOG"]}]}
    assert call(emulator, "PATCH", "/api/2.1/unity-catalog/permissions/catalog/main", change)[1]["error_code"] == "PRINCIPAL_DOES_NOT_EXIST"
