"""The model registry: logged models become versions, the best of which is the champion."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from distill_lab.contracts import Quality
from distill_lab.tracking.patience import raise_if_away

CHAMPION = "champion"
STUDENT = ("weights", "data_checksum")
"""Tags that versions of one network have in common, whichever run logged it."""
MAX_DESCRIPTION = 5000  # characters; a column of that width in PostgreSQL


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        uri: to serve it by, e.g. `models:/distill-lab-digits/3`.
        standing: for people, how it stands to the champion.
    """

    uri: str
    standing: str


@dataclass(frozen=True)
class Contender:
    """What one version is compared with another by.

    Attributes:
        version: its number.
        checksum: SHA-256 of the data; None where its run is gone.
        quality: on validation; None where its run is gone or measured something else.
    """

    version: int
    checksum: str | None
    quality: float | None


def register(
    client: MlflowClient,
    model: str,
    name: str,
    quality: Quality,
    tags: dict[str, str],
    description: str,
) -> Registered:
    """Make a logged model a version, unless its network is one already; the best is the champion.

    A version of the same weights and data, logged by another run, is given these tags and this
    description. Two processes must not do this for one name at once: between reading who is the
    champion and naming another, a third might have been named.

    Args:
        client: of the store.
        model: URI that `log_model` returned.
        name: of the registered model; made if missing.
        quality: what versions are compared by, on validation.
        tags: of the version.
        description: of the version, Markdown; what is beyond MLflow's limit is cut off.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # perhaps by a job beside this one
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    found = next((version for version in versions if version.source == model), None)
    if found is None:
        found = next((one for one in versions if _is_same(client, one, tags)), None)
        if found is not None:
            for key, value in tags.items():
                client.set_model_version_tag(name, found.version, key, value)
            client.update_model_version(name, found.version, _cut(description))
    if found is None:
        logged = client.get_logged_model(model.rpartition("/")[2])
        found = client.create_model_version(
            name,
            model,
            run_id=logged.source_run_id,
            tags=tags,
            description=_cut(description),
            model_id=logged.model_id,
        )
    uri = f"models:/{name}/{found.version}"
    ours = _contender(client, found, quality)
    present = client.get_registered_model(name).aliases.get(CHAMPION)
    best = None
    if present is not None and int(present) != ours.version:
        best = _contender(client, client.get_model_version(name, present), quality)
    if present is None or (best is not None and takes_over(ours, best)):
        client.set_registered_model_alias(name, CHAMPION, str(found.version))
    return Registered(uri, standing(ours, best, quality))


def takes_over(ours: Contender, champion: Contender) -> bool:
    """Tell whether a version is the better one by validation; of equals, the newer one is.

    Where that cannot be told, as of other data, the champion stays.
    """
    if not comparable(ours, champion):
        return False
    assert ours.quality is not None
    assert champion.quality is not None
    return (ours.quality, ours.version) > (champion.quality, champion.version)


def comparable(ours: Contender, champion: Contender) -> bool:
    """Tell whether two versions were measured on the same data, by the same."""
    known = None not in (ours.checksum, ours.quality, champion.quality)
    return known and ours.checksum == champion.checksum


def standing(ours: Contender, champion: Contender | None, quality: Quality) -> str:
    """Return how a version stands to the champion before it, if that was another one."""
    if champion is None:
        return f"{CHAMPION}: version {ours.version}, val {quality.label} {_shown(ours.quality)}"
    if not comparable(ours, champion):
        return (
            f"{CHAMPION} stays version {champion.version}: it was measured on other data, or its "
            "run is gone, so that the two cannot be compared"
        )
    figures = f"val {quality.label} {_shown(ours.quality)} against {_shown(champion.quality)}"
    if takes_over(ours, champion):
        return f"{CHAMPION}: version {ours.version}, {figures} of version {champion.version}"
    return f"{CHAMPION} stays version {champion.version}: this one has {figures}"


def _is_same(client: MlflowClient, version: ModelVersion, tags: dict[str, str]) -> bool:
    """Tell whether a version holds the network that tags are of, and can still be served."""
    if any(key not in tags or version.tags.get(key) != tags[key] for key in STUDENT):
        return False
    try:
        client.get_logged_model(str(version.source).rpartition("/")[2])
    except MlflowException as error:
        raise_if_away(error)
        return False
    return True


def _contender(client: MlflowClient, version: ModelVersion, quality: Quality) -> Contender:
    try:
        data = client.get_run(str(version.run_id)).data
    except MlflowException as error:
        raise_if_away(error)
        return Contender(int(version.version), None, None)
    checksum, value = data.tags.get("data_checksum"), data.metrics.get(f"val/{quality.key}")
    return Contender(int(version.version), checksum, value)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _cut(text: str) -> str:
    """Return the lines of a text that MLflow has room for."""
    if len(text) <= MAX_DESCRIPTION:
        return text
    more = "\n\n(cut; the whole card is model_card.md of the hand-over)"
    return text[: MAX_DESCRIPTION - len(more)].rpartition("\n")[0] + more
