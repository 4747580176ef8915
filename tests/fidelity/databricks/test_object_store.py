"""The S3 behind the front door, by boto3 and by obstore; and that a kill -9 loses nothing that was answered."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from aids.databricks.place import Sdk, call, run
from aids.process import emulating

from mlport.emulation.server import Ready

KEYS = """
import os, sys
os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_DEFAULT_REGION"] = sys.argv[1], sys.argv[2], "us-east-1"
bucket = "emulated-mlport-state"
"""
CLIENT = (
    KEYS
    + """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
s3 = boto3.client("s3", config=Config(signature_version="s3v4"))

def code(work):
    try:
        work()
    except ClientError as error:
        return error.response["Error"]["Code"]
"""
)
BOTO = """
import requests
s3.put_object(Bucket=bucket, Key="a b/ü+.txt", Body=b"hello", Metadata={"x": "1"}, ContentType="text/plain")
found = s3.get_object(Bucket=bucket, Key="a b/ü+.txt")
assert (found["Body"].read(), found["Metadata"], found["ContentType"]) == (b"hello", {"x": "1"}, "text/plain")
assert s3.get_object(Bucket=bucket, Key="a b/ü+.txt", Range="bytes=1-2")["Body"].read() == b"el"
large = sys.argv[3]
open(large, "wb").write(os.urandom(9 << 20))
s3.upload_file(large, bucket, "large")
s3.download_file(bucket, "large", large + "2")
assert open(large, "rb").read() == open(large + "2", "rb").read()
s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "large"})
s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "large"}]})
assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a b/ü+.txt", "copy"]
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/ü+.txt"})
assert (requests.get(url).content, requests.get(url[:-1] + "x").status_code) == (b"hello", 403)
s3.create_bucket(Bucket="our-own")
assert sorted(each["Name"] for each in s3.list_buckets()["Buckets"]) == ["emulated-mlport-state", "our-own"]
assert code(lambda: s3.get_object(Bucket=bucket, Key="none")) == "NoSuchKey"
assert code(lambda: s3.put_object(Bucket="emulated-unity-catalog", Key="x", Body=b"")) == "AccessDenied"
assert code(lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})) == "NotImplemented"
wrong = boto3.client("s3", aws_access_key_id=sys.argv[1], aws_secret_access_key="wrong")
assert code(lambda: wrong.list_objects_v2(Bucket=bucket)) == "SignatureDoesNotMatch"
nobody = boto3.client("s3", aws_access_key_id="AKIANOBODY", aws_secret_access_key="wrong")
assert code(lambda: nobody.list_objects_v2(Bucket=bucket)) == "InvalidAccessKeyId"
"""
OBSTORE = """
from concurrent.futures import ThreadPoolExecutor
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
options = {"proxy_url": os.environ["https_proxy"], "root_certificate": open(os.environ["SSL_CERT_FILE"], "rb").read()}
store = obstore.store.S3Store(bucket, region="us-east-1", access_key_id=sys.argv[1], secret_access_key=sys.argv[2], client_options=options)
first = obstore.put(store, "lease", b"1", mode="create")
obstore.put(store, "lease", b"2", mode={"e_tag": first["e_tag"]})
for mode, kind in (("create", AlreadyExistsError), ({"e_tag": first["e_tag"]}, PreconditionError)):
    try:
        obstore.put(store, "lease", b"3", mode=mode)
        raise AssertionError(mode)
    except kind:
        pass
assert bytes(obstore.get(store, "lease").bytes()) == b"2"

def won(number):
    try:
        obstore.put(store, "race", str(number).encode(), mode="create")
        return True
    except AlreadyExistsError:
        return False

with ThreadPoolExecutor(16) as pool:
    assert sum(pool.map(won, range(48))) == 1

def added(number):
    while True:
        found = obstore.get(store, "sum")
        try:
            obstore.put(store, "sum", str(int(bytes(found.bytes())) + 1).encode(), mode={"e_tag": found.meta["e_tag"]})
            return
        except PreconditionError:
            continue

obstore.put(store, "sum", b"0")
with ThreadPoolExecutor(8) as pool:
    list(pool.map(added, range(24)))
assert bytes(obstore.get(store, "sum").bytes()) == b"24"
obstore.delete(store, ["lease", "race", "sum"])
"""


def keys(ready: Ready) -> tuple[str, str]:
    fields = parse_qs(urlsplit(ready.targets["databricks"]).query)
    return fields["state_access_key"][0], fields["state_secret_key"][0]


def test_boto3_reads_and_writes_and_is_refused(emulator: Ready, sdk: Sdk, tmp_path: Path) -> None:
    sdk(CLIENT + BOTO, *keys(emulator), str(tmp_path / "large"))


def test_a_conditional_write_of_obstore_holds_among_threads(emulator: Ready, sdk: Sdk) -> None:
    sdk(KEYS + OBSTORE, *keys(emulator))


def test_a_killed_emulator_keeps_all_that_it_answered_for(tmp_path: Path) -> None:
    before = """
        s3.put_object(Bucket=bucket, Key="kept", Body=b"1", Metadata={"x": "1"})
        s3.put_object(Bucket=bucket, Key="gone", Body=b"1")
        s3.delete_object(Bucket=bucket, Key="gone")
        upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
        s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"p")
        print(upload, s3.head_object(Bucket=bucket, Key="kept")["ETag"])
    """
    after = """
        upload, etag = sys.argv[3:]
        assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["kept"]
        found = s3.get_object(Bucket=bucket, Key="kept")
        assert (found["Body"].read(), found["ETag"], found["Metadata"]) == (b"1", etag, {"x": "1"})
        parts = [{"PartNumber": each["PartNumber"], "ETag": each["ETag"]} for each in s3.list_parts(Bucket=bucket, Key="parts", UploadId=upload)["Parts"]]
        s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
        assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read() == b"p"
    """
    model = {"catalog_name": "main", "schema_name": "ml", "name": "m"}
    with emulating("databricks", tmp_path / "emulator") as emulated:
        said = run(emulated.ready, CLIENT + _flat(before), *keys(emulated.ready)).split()
        assert call(emulated.ready, "POST", "/api/2.1/unity-catalog/models", model)[0] == 200
        assert call(emulated.ready, "PUT", "/api/2.0/fs/files/Volumes/main/ml/mlport/f", b"x")[0] == 204
        token = call(emulated.ready, "POST", "/api/2.0/token/create", {})[1]["token_value"]
        emulated.kill()
        emulated.start()
        run(emulated.ready, CLIENT + _flat(after), *keys(emulated.ready), *said)
        assert call(emulated.ready, "GET", "/api/2.1/unity-catalog/models/main.ml.m", token=token)[1]["owner"] == "admin@emulated.example"
        assert call(emulated.ready, "GET", "/api/2.0/fs/files/Volumes/main/ml/mlport/f")[0] == 200


def _flat(program: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in program.splitlines())
