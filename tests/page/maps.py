"""A model whose maps say more than those of the shipped one."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Route

from tests.page.conftest import Visit


def relate(visit: Visit, *, most: float = 0.2) -> None:
    """Reload the page for a model whose correlation attention differs from spot to spot; the shipped one's does not."""

    def telling(route: Route) -> None:
        response = route.fetch()
        model: dict[str, Any] = response.json()
        interval = {"value": 0.1, "low": 0.05, "high": 0.2}
        changes = {"median_change": most / 4, "percentile_95_change": most, "other_advice": interval}
        about = {"measured_on": "elsewhere", "num_images": 100, "row_spread": 0.5}
        model["manifest"]["attention_influence"] = changes | about
        route.fulfill(response=response, json=model)

    visit.page.route("**/v1/model", telling)
    visit.page.reload()
