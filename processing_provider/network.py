"""How another process reaches the network: by the proxy of QGIS's own options."""

from __future__ import annotations

from qgis.core import QgsNetworkAccessManager
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy


def proxy_settings(environment: dict[str, str]) -> dict[str, str]:
    """What to add to an environment so that QGIS's proxy is used; what it says itself stays.

    Some programs heed the names in capitals only, and curl heeds `http_proxy` in small letters only.
    """
    proxy, added = _proxy_of_qgis(), {}
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        if proxy and name not in environment and name.lower() not in environment:
            added.update({name: proxy, name.lower(): proxy})
    return added


def _proxy_of_qgis() -> str:
    """The proxy of QGIS's network options as a URL, or nothing."""
    proxy = QgsNetworkAccessManager.instance().fallbackProxy()
    schemes = {QNetworkProxy.ProxyType.HttpProxy: "http", QNetworkProxy.ProxyType.HttpCachingProxy: "http",
               QNetworkProxy.ProxyType.Socks5Proxy: "socks5h"}  # fmt: skip
    if proxy.type() not in schemes or not proxy.hostName():
        return ""
    url = QUrl()
    url.setScheme(schemes[proxy.type()])
    url.setHost(proxy.hostName())
    if proxy.port():
        url.setPort(proxy.port())
    if proxy.user():
        url.setUserName(proxy.user())
        url.setPassword(proxy.password())
    return url.toString(QUrl.ComponentFormattingOption.FullyEncoded)
