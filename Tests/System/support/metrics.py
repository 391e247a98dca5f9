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


    def histogram(self, name, before=None, **labels):
        """{upper bound: observations up to it}, of all series with these labels, since the scrape `before`."""
        counts = {}
        for scrape, sign in ((self, 1), (before, -1)):
            for sample in scrape.samples if scrape else ():
                if sample.name == name + "_bucket" and all(
                    sample.labels.get(key) == str(value) for key, value in labels.items()
                ):
                    bound = float(sample.labels["le"])
                    counts[bound] = counts.get(bound, 0) + sign * sample.value
        return counts


def quantile(share, counts):
    """What `share` of a histogram's observations did not exceed: linear within its bucket, as Prometheus'
    histogram_quantile does. None when there are none.
    """
    observed = sorted(counts.items())
    if not observed or not observed[-1][1]:
        return None
    wanted, lower, below = share * observed[-1][1], 0.0, 0.0
    for bound, count in observed:
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * ((wanted - below) / max(count - below, 1))
        lower, below = bound, count
    return lower


def status_json(base):
    status, _, text = get(f"{base}/status.json")
    assert status == 200
    return json.loads(text)
