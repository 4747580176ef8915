"""AWS bulk offers: the region index and CSV files as these describe them:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/service-region-infex-file-for-service.html
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest
from aids.replaying import Answer, replaying, served

from mlport.costs.refreshing.sources import Request
from mlport.costs.refreshing.web import Web
from mlport.errors import NotFoundError, UnavailableError
from mlport_sagemaker.price_source import EC2, SAGEMAKER

HEAD = (("FormatVersion", "v1.0"), ("Disclaimer", "for information, no more"), ("Publication Date", "2026-11-20T20:59:55Z"))
ROW = {
    "SKU": "2223B6PCG6QAUYY6", "OfferTermCode": "JRTCKXETXF", "RateCode": "2223B6PCG6QAUYY6.JRTCKXETXF.6YS6EN2CT7",
    "TermType": "OnDemand", "PriceDescription": "$0.192 per On Demand Linux m5.xlarge Instance Hour", "EffectiveDate": "2026-11-01",
    "StartingRange": "0", "EndingRange": "Inf", "Unit": "Hrs", "PricePerUnit": "0.1920000000", "Currency": "USD",
    "LeaseContractLength": "", "PurchaseOption": "", "OfferingClass": "", "Product Family": "Compute Instance",
    "serviceCode": "AmazonEC2", "Location": "US East (N. Virginia)", "Location Type": "AWS Region", "Instance Type": "m5.xlarge",
    "vCPU": "4", "Memory": "16 GiB", "Tenancy": "Shared", "Operating System": "Linux", "usageType": "BoxUsage:m5.xlarge",
    "operation": "RunInstances", "CapacityStatus": "Used", "MarketOption": "OnDemand", "Pre Installed S/W": "NA",
    "Region Code": "us-east-1",
}  # fmt: skip
TRAPS = {
    "capacity block for 0": {"MarketOption": "CapacityBlock", "operation": "RunInstances:CB", "PricePerUnit": "0.0000000000"},
    "Windows": {"Operating System": "Windows", "operation": "RunInstances:0002"},
    "dedicated": {"Tenancy": "Dedicated", "usageType": "DedicatedUsage:m5.xlarge"},
    "host": {"Tenancy": "Host", "PricePerUnit": "0.0000000000"},
    "SQL": {"Pre Installed S/W": "SQL Web", "operation": "RunInstances:0200"},
    "unused reservation": {"CapacityStatus": "UnusedCapacityReservation"},
    "allocated reservation": {"CapacityStatus": "AllocatedCapacityReservation", "PricePerUnit": "0.0000000000"},
    "local zone": {"Location Type": "AWS Local Zone"},
    "another region": {"Region Code": "us-east-1-bos-1"},
    "yuan": {"Currency": "CNY"},
    "a disk": {"Product Family": "Storage", "Unit": "GB-Mo"},
    "upfront fee": {"TermType": "Reserved", "Unit": "Quantity", "LeaseContractLength": "1yr", "PurchaseOption": "All Upfront"},
    "paid upfront": {"TermType": "Reserved", "LeaseContractLength": "1yr", "PurchaseOption": "All Upfront", "OfferingClass": "standard"},
    "convertible": {"TermType": "Reserved", "LeaseContractLength": "1yr", "PurchaseOption": "No Upfront", "OfferingClass": "convertible"},
    "no price": {"PricePerUnit": ""},
}
ML = {  # the columns of AmazonSageMaker's file, as Bjorn248/graphql_aws_pricing_api (SCHEMATA.md, made from it) has them, in AWS' spelling
    "SKU": "JMCWJEAPVJNFJ5P4", "OfferTermCode": "JRTCKXETXF", "RateCode": "JMCWJEAPVJNFJ5P4.JRTCKXETXF.6YS6EN2CT7",
    "TermType": "OnDemand", "PriceDescription": "$0.23 per Hour for Training ml.m5.xlarge", "EffectiveDate": "2026-11-01",
    "StartingRange": "0", "EndingRange": "Inf", "Unit": "Hrs", "PricePerUnit": "0.2300000000", "Currency": "USD", "RelatedTo": "",
    "Product Family": "ML Instance", "serviceCode": "AmazonSageMaker", "Location": "US East (N. Virginia)",
    "Location Type": "AWS Region", "Instance Type": "ml.m5.xlarge-Training", "Current Generation": "Yes", "Clock Speed": "NA",
    "Memory": "16 GiB", "Storage": "EBS only", "Network Performance": "Up to 10 Gigabit", "Processor Architecture": "64-bit",
    "Volume Type": "", "Max throughput/volume": "", "Group": "", "Group Description": "", "usageType": "USE1-Train:ml.m5.xlarge",
    "operation": "RunInstance", "Automatic Label": "", "Component": "Training", "Compute Type": "Standard Instances",
    "DataStore StorageType": "", "GPU": "0", "GPU Memory": "N/A", "Instance Name": "ml.m5.xlarge", "Integrating API": "",
    "Integrating Feature": "", "Integrating Service": "", "Labeling Task Type": "", "MemoryGB": "", "Physical CPU": "NA",
    "Physical GPU": "N/A", "PlatoClassificationType": "", "PlatoInstanceName": "m5", "PlatoInstanceType": "", "Pricing Unit": "",
    "Region Code": "us-east-1", "serviceName": "Amazon SageMaker", "V CPU": "4", "Workforce Type": "",
}  # fmt: skip


@pytest.fixture
def aws():
    with replaying() as server:
        yield server


def offer(rows, head=HEAD):
    text = io.StringIO()
    lines = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writerows([*head, ("Version", "20261120205955"), ("OfferCode", rows[0]["serviceCode"])])
    lines.writerow(list(rows[0]))
    lines.writerows(list(row.values()) for row in rows)
    return text.getvalue().encode()


def documents(content, service="AmazonEC2"):
    """The index and one region's file."""
    path = f"/offers/v1.0/aws/{service}/20261120205955/us-east-1/index"
    index = {
        "formatVersion": "v1.0",
        "publicationDate": "2026-11-20T20:59:55Z",
        "regions": {"us-east-1": {"regionCode": "us-east-1", "currentVersionUrl": f"{path}.json"}},
    }

    def document(asked, headers):
        if asked == f"/offers/v1.0/aws/{service}/current/region_index.json":
            return Answer(json.dumps(index).encode())
        return served(content, '"one"', headers) if asked == f"{path}.csv" else Answer(status=404)

    return document


def read(source, server, tmp_path, passed=None, region="us-east-1"):
    request = Request([region], [], Web(tmp_path, sleep=lambda seconds: None), passed=Counter() if passed is None else passed)
    return list(source.at(server.url).read(request))


@pytest.mark.parametrize("change", TRAPS.values(), ids=TRAPS)
def test_a_row_that_is_no_price_of_a_linux_machine_is_passed_over_with_its_reason(aws, tmp_path, change):
    aws.document = documents(offer([{**ROW, "PricePerUnit": "9.99", **change}, ROW]))
    passed = Counter()
    (found,) = read(EC2, aws, tmp_path, passed)
    assert (found.sku, found.price, found.purchase, found.as_of) == ("m5.xlarge", Decimal("0.192"), "on_demand", date(2026, 11, 20))
    assert passed.total() == 1
    assert not list(tmp_path.iterdir())  # the file was for this reading


def test_reservations_are_those_paid_by_the_hour(aws, tmp_path):
    reserved = {**ROW, "TermType": "Reserved", "PurchaseOption": "No Upfront", "OfferingClass": "standard"}
    rows = [
        ROW,
        {**reserved, "LeaseContractLength": "1yr", "PricePerUnit": "0.1210000000"},
        {**reserved, "LeaseContractLength": "3yr", "PricePerUnit": "0.0830000000"},
    ]
    aws.document = documents(offer(rows))
    found = {row.purchase: row.price for row in read(EC2, aws, tmp_path)}
    assert found == {"on_demand": Decimal("0.192"), "reserved_1y": Decimal("0.121"), "reserved_3y": Decimal("0.083")}


def test_sagemaker_prices_are_those_of_trainings_and_endpoints(aws, tmp_path):
    uses = {
        "USE1-Train:ml.m5.xlarge": "0.23",
        "USE1-Host:ml.m5.xlarge": "0.23",
        "Host:ml.c5.xlarge": "0.204",
        "USE1-Notebk:ml.m5.xlarge": "9",
        "USE1-Studio:KernelGateway-ml.m5.xlarge": "9",
        "USE1-SpotTraining:ml.m5.xlarge": "9",
        "USE1-Train:VolumeUsage.gp2": "0.14",
    }
    aws.document = documents(offer([{**ML, "usageType": use, "PricePerUnit": price} for use, price in uses.items()]), "AmazonSageMaker")
    found = {(row.sku, row.price) for row in read(SAGEMAKER, aws, tmp_path)}
    assert found == {("ml.m5.xlarge", Decimal("0.23")), ("ml.c5.xlarge", Decimal("0.204"))}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (offer([ROW]).replace(b'"MarketOption"', b'"Market"'), "lacks MarketOption"),
        (offer([ROW], (*HEAD[:2], ("Written", "2026"))), "publication date"),
        (offer([ROW]) + b'"half a row"\n', "row 8 has 1 of 29 columns"),
    ],
    ids=["a column is missing", "no date", "half a row"],
)
def test_a_file_of_another_shape_is_no_price_list(aws, tmp_path, content, words):
    aws.document = documents(content)
    with pytest.raises(UnavailableError, match=words):
        read(EC2, aws, tmp_path)


def test_a_region_that_the_index_does_not_name_is_told_with_the_nearest(aws, tmp_path):
    aws.document = documents(offer([ROW]))
    with pytest.raises(NotFoundError) as error:
        read(EC2, aws, tmp_path, region="us-east-11")
    assert "us-east-1'" in error.value.hint
