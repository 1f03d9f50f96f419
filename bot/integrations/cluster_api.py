"""Reading the Kubernetes API: kubeconfig contexts, lists, watches and logs, with every failure in our own words.

Requests go through the official client's `ApiClient` (credentials, exec plugins, TLS) and answers stay plain JSON: the
client's model classes cost memory and refuse fields that they do not know. Only the kubeconfig's own `proxy-url` is
used, never a proxy that happens to be in the environment.
"""

import contextlib
import json
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import urllib3
import yaml

from commands.reasons import ReasonCode, Refused, Retry

Json = Mapping[str, Any]
POOL_SIZE = 16  # connections per context that are kept; more are made when needed
GROUPS = {"pods": "/api/v1", "events": "/api/v1"}  # everything else we read is in apps/v1
ANONYMOUS = "system:anonymous"


class Expired(Exception):  # noqa: N818 - what it says: not an error, list again
    """410 Gone: the resource version to watch from is too old."""


@dataclass(frozen=True)
class Listing:
    """Objects of one kind, the version to watch from, and the API server's clock when it answered."""

    items: list[Json]
    version: str
    at: datetime


class ClusterApi:
    """The contexts of a kubeconfig. Contexts are loaded when first used; one client each, shared by all threads."""

    def __init__(self, kubeconfig: str | None, *, timeout: float) -> None:
        self._kubeconfig = kubeconfig
        self._timeout = timeout
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def close(self) -> None:
        """Close every connection. Another request opens them again."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def list(self, context: str, resource: str, namespace: str, **query: str) -> Listing:
        """All objects of a resource in a namespace that match `labelSelector` and `fieldSelector`.

        Refused: CLUSTER_CREDENTIALS, NOT_CONFIGURED. Retry: CLUSTER_UNREACHABLE.
        """
        verb = f"list {resource}"
        answer = self._get(context, _path(resource, namespace), query, verb, namespace)
        try:
            body = json.loads(answer.read())
            items, version = body.get("items") or [], body["metadata"]["resourceVersion"]
        except (ValueError, KeyError, AttributeError) as error:
            raise _no_api_server(context) from error
        return Listing(items, version, _clock(answer.headers.get("Date")))

    def watch(
        self, context: str, resource: str, namespace: str, version: str, seconds: int, field: str
    ) -> Generator[Json, None, None]:
        """Changes after `version`, until `seconds` (whole, at least 1) have passed. Raises Expired on 410.

        Close the iterator to hang up. Refused and Retry as in `list`; a connection that breaks in the middle ends the
        iteration, as the API server itself does now and then.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            "fieldSelector": field,
            "allowWatchBookmarks": "true",
        }
        answer = self._get(context, _path(resource, namespace), query, f"watch {resource}", namespace, slack=seconds)
        response = answer.response
        try:
            yield from _events(response)
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
            return
        finally:
            response.close()

    def log(self, context: str, namespace: str, pod: str, **query: str) -> str | None:
        """A container's log, or None when it cannot be had: a log is a courtesy, its lack is no failure."""
        path = f"{_path('pods', namespace)}/{pod}/log"
        with contextlib.suppress(Refused, Retry):
            answer = self._get(context, path, query, "get pods/log", namespace)
            return bytes(answer.read()).decode(errors="replace")
        return None

    def version(self, context: str) -> str:
        """The API server's version, read with our credentials. Faults as in `list`."""
        self._get(context, "/apis/apps/v1", {}, "get /apis/apps/v1", "").read()  # /version is open to strangers
        try:
            return str(json.loads(self._get(context, "/version", {}, "get /version", "").read())["gitVersion"])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_api_server(context) from error

    def _get(
        self, context: str, path: str, query: Mapping[str, str], verb: str, namespace: str, *, slack: float = 0.0
    ) -> Any:  # noqa: ANN401 - the client ships no types
        """One GET. A 401 is tried once more with the kubeconfig read again: tokens rotate."""
        answer = self._send(context, path, query, slack)
        if answer.status == 401:
            self._forget(context)
            answer = self._send(context, path, query, slack)
        if answer.status == 200:
            return answer
        try:
            said = _message(bytes(answer.read()))
        except urllib3.exceptions.HTTPError:
            said = ""
        raise _fault(answer.status, said, answer.headers.get("Retry-After"), _Asked(context, verb, namespace))

    def _send(self, context: str, path: str, query: Mapping[str, str], slack: float) -> Any:  # noqa: ANN401 - as above
        from kubernetes.client.exceptions import ApiException

        client = self._client(context)
        # The client adds credentials to the headers it is given, after refreshing them where they expire.
        request = client.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*"},
            auth_settings=["BearerToken"],
        )
        try:
            return client.call_api(*request, _request_timeout=(self._timeout, self._timeout + slack))
        except ApiException as error:  # raised for TLS alone: answers come back with their status
            if "CERTIFICATE_VERIFY_FAILED" in str(error.reason):
                raise Refused(
                    ReasonCode.CLUSTER_CREDENTIALS,
                    f"The certificate of the cluster{_named(context)} is not signed by the kubeconfig's authority.",
                    "Put the cluster's certificate authority into the kubeconfig.",
                ) from error
            raise _unreachable(context, "the TLS connection failed") from error
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(context, _cause(error)) from error

    def _forget(self, context: str) -> None:
        with self._lock:
            self._clients.pop(context, None)

    def _client(self, context: str) -> Any:  # noqa: ANN401 - as above
        with self._lock:
            if context not in self._clients:
                self._clients[context] = _load(self._kubeconfig, context)
            return self._clients[context]


@dataclass(frozen=True)
class _Asked:
    context: str
    verb: str
    namespace: str


def _load(kubeconfig: str | None, context: str) -> Any:  # noqa: ANN401 - the client ships no types
    """A client for a context. Importing it takes 0.3 s and 20 MB, so it waits for the first rollout."""
    from kubernetes import client, config

    # An empty proxy is not "none given": it keeps the environment's out.
    configuration = client.Configuration(proxy="", no_proxy="", connection_pool_maxsize=POOL_SIZE)
    configuration.retries = False  # waiting and trying again is the delivery's business
    path = Path(kubeconfig or "~/.kube/config").expanduser()
    try:
        if kubeconfig is None and not context and not path.exists():
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # has no types
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call] # has no types
                str(path if kubeconfig is None else kubeconfig),
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except config.ConfigException as error:
        raise _bad_context(kubeconfig or str(path), context) from error
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            f"The kubeconfig cannot be read: {type(error).__name__}.",
            "Check the file that KUBECONFIG names.",
        ) from error
    return client.ApiClient(configuration)


def _bad_context(kubeconfig: str, context: str) -> Refused:
    from kubernetes import config
    from kubernetes.config.kube_config import KubeConfigMerger

    try:
        merged = KubeConfigMerger(kubeconfig).config  # type: ignore[no-untyped-call] # has no types
        known = [str(c["name"]) for c in merged.value["contexts"]] if merged is not None else []
    except (config.ConfigException, OSError, KeyError, TypeError, yaml.YAMLError):
        known = []
    if not known:
        return Refused(
            ReasonCode.NOT_CONFIGURED,
            "There is no usable kubeconfig, and this is not a pod with a service account.",
            "Set KUBECONFIG to a file that names the cluster.",
        )
    if context and context not in known:
        return Refused(
            ReasonCode.NOT_CONFIGURED,
            f"The kubeconfig has no context called {context}; it has {', '.join(sorted(known))}.",
            "Name one of them for this environment in the catalogue, or add the context.",
        )
    return Refused(
        ReasonCode.NOT_CONFIGURED,
        f"The context{_named(context)} of the kubeconfig is not complete: its cluster, its user or a file is missing.",
        "Check the kubeconfig with `kubectl --context`.",
    )


def _path(resource: str, namespace: str) -> str:
    return f"{GROUPS.get(resource, '/apis/apps/v1')}/namespaces/{namespace}/{resource}"


def _events(response: Any) -> Iterator[Json]:  # noqa: ANN401 - a urllib3 response, by way of an untyped client
    rest = b""
    for chunk in response.stream(64 * 1024, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            event = json.loads(line)
            if event["type"] == "ERROR":
                if event["object"].get("code") == 410:
                    raise Expired
                return  # any other is the server's way to end a watch
            yield event


def _clock(date: str | None) -> datetime:
    """The API server's clock, so that a skew of ours does not age its timestamps."""
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(date or "").astimezone(UTC)
    return datetime.now(UTC)


def _message(body: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError, KeyError):
        return str(json.loads(body)["message"])
    return ""


def _named(context: str) -> str:
    return f" {context}" if context else ""


def _cause(error: Exception) -> str:
    """The kind of failure; urllib3's own texts hold addresses and object ids."""
    text = str(error)
    if "timed out" in text:
        return "no answer in time"
    if "refused" in text:
        return "the connection was refused"
    if "resolve" in text or "Name or service" in text:
        return "its name does not resolve"
    return "the connection broke"


def _unreachable(context: str, why: str, *, after: float = 1.0) -> Retry:
    return Retry(
        ReasonCode.CLUSTER_UNREACHABLE,
        f"The API server of the cluster{_named(context)} cannot be reached: {why}.",
        "It is tried again; if it lasts, check the network between Locktender and the cluster.",
        after=after,
    )


def _no_api_server(context: str) -> Refused:
    return Refused(
        ReasonCode.NOT_CONFIGURED,
        f"What answers at the address of the cluster{_named(context)} is not a Kubernetes API server.",
        "Check the server address in the kubeconfig.",
    )


def _fault(status: int, said: str, retry_after: str | None, asked: _Asked) -> Refused | Retry | Expired:
    cluster = f"the cluster{_named(asked.context)}"
    if status == 410:
        return Expired()
    if status == 401 or (status == 403 and ANONYMOUS in said):
        return Refused(
            ReasonCode.CLUSTER_CREDENTIALS,
            f"The API server of {cluster} does not accept the credentials in the kubeconfig.",
            "Renew the token, certificate or plugin of that context's user.",
        )
    if status == 403:
        where = f" in namespace {asked.namespace}" if asked.namespace else ""
        return Refused(
            ReasonCode.CLUSTER_CREDENTIALS,
            f"Locktender's role in {cluster} may not {asked.verb}{where}.",
            f"Grant `{asked.verb}` (reading is enough) to that context's user.",
            detail=said,
        )
    if status == 429 or status >= 500:
        after = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return _unreachable(asked.context, f"it answered {status}", after=after)
    return _no_api_server(asked.context)
