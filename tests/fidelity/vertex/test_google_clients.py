"""Google's own clients of Cloud Logging and Cloud Monitoring, by gRPC as they come, with nothing but the environment."""

from __future__ import annotations

from aids.vertex.place import Sdk, emulator, sdk  # noqa: F401 - fixtures


def test_the_logging_client_reads_what_it_wrote(sdk: Sdk) -> None:  # noqa: F811
    said = sdk(
        """
        from google.cloud import logging
        client = logging.Client(project="emulated")
        log = client.logger("mine")
        log.log_text("first", severity="INFO")
        log.log_struct({"rows": 3}, severity="ERROR")
        found = client.list_entries(filter_='logName="projects/emulated/logs/mine" severity>=INFO', order_by=logging.ASCENDING)
        print([(entry.payload, entry.severity) for entry in found])
        print([entry.payload for entry in client.list_entries(filter_="severity>=ERROR", page_size=1)])
        """
    )
    first, second = said.splitlines()
    assert first == "[('first', 'INFO'), ({'rows': 3.0}, 'ERROR')]"
    assert second == "[{'rows': 3.0}]"


def test_the_monitoring_client_reads_what_there_is(sdk: Sdk) -> None:  # noqa: F811
    said = sdk(
        """
        import time
        from google.api_core.exceptions import InvalidArgument
        from google.cloud import monitoring_v3
        client, now = monitoring_v3.MetricServiceClient(), int(time.time())
        asked = {
            "name": "projects/emulated",
            "filter": 'metric.type="aiplatform.googleapis.com/prediction/online/prediction_count"',
            "interval": monitoring_v3.TimeInterval({"start_time": {"seconds": now - 60}, "end_time": {"seconds": now}}),
            "view": monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        }
        print(list(client.list_time_series(request=asked)))
        name = "projects/emulated/metricDescriptors/aiplatform.googleapis.com/prediction/online/prediction_count"
        print(client.get_metric_descriptor(name=name).unit)
        try:
            client.list_time_series(request={**asked, "filter": "prediction_count"})
        except InvalidArgument as refused:
            print(int(refused.code))
        """
    )
    assert said.splitlines() == ["[]", "1", "400"]
