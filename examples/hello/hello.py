import mlport
from mlport import Compute, JobSpec

with mlport.connect() as ml:  # a profile of mlport.toml, a URL, or "local"
    job = ml.jobs.submit(
        JobSpec(name="hello", source="train", entrypoint=["python", "train.py"], params={"c": 0.5}, compute=Compute(cpus=1, memory_gib=1))
    )
    for line in job.logs(follow=True):
        print(line)
    version = ml.models.register("hello", from_job=job.wait(), alias="champion")
    endpoint = ml.endpoints.create("hello", version)
    answer = endpoint.predict([{"mean radius": 14.1, "mean texture": 19.3}])
    endpoint.label(answer.request_id, [1])  # the truth, when it comes, in any order
    print(list(answer), endpoint.captured(labelled=True).to_pylist(), version.lineage["bundle"])
    endpoint.delete()
