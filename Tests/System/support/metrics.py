"""Asking the daemon's HTTP port, and reading /metrics with Prometheus' own Python parser."""
import json
import urllib.error
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def get(url, accept=None, method="GET", timeout=20):
    """(status, headers, body as text). Never raises for an HTTP status."""
    request = urllib.request.Request(url, method=method, headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Scrape:
    """One answer of /metrics, parsed."""

    def __init__(self, base, accept=None):
        status, self.headers, self.text = get(f"{base}/metrics", accept)
        assert status == 200, f"/metrics answered {status}: {self.text[:300]}"
        parse = openmetrics if self.headers["Content-Type"].startswith("application/openmetrics-text") else parser
        self.families = {family.name: family for family in parse.text_string_to_metric_families(self.text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def total(self, name, **labels):
        """The sum of all samples of that exact name whose labels have these values; None when there is none."""
        values = [
            sample.value for sample in self.samples
            if sample.name == name and all(sample.labels.get(key) == str(value) for key, value in labels.items())
        ]
        return sum(values) if values else None


def status_json(base):
    status, _, text = get(f"{base}/status.json")
    assert status == 200
    return json.loads(text)
