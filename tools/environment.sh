# Sourced by ./dev: starts ./dev again with a clean environment. Only the variables in `kept` come from the caller.
# shellcheck shell=sh

# The way to the network: proxies, certificates, package indexes.
network='http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE
    CURL_CA_BUNDLE PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_DEFAULT_TIMEOUT PIP_EXTRA_INDEX_URL PIP_FIND_LINKS
    PIP_INDEX_URL PIP_PROXY PIP_TRUSTED_HOST UV_DEFAULT_INDEX UV_FIND_LINKS UV_INDEX NODE_EXTRA_CA_CERTS NPM_CONFIG_REGISTRY
    npm_config_registry no_proxy'
kept="$network CI PYTHON SSHAFT_EXAMPLES SSHAFT_PICTURES SUITE TERM XDG_CACHE_HOME XDG_CONFIG_HOME"

if [ "${SSHAFT_ENVIRONMENT-}" != clean ]; then
    no_proxy=localhost,127.0.0.1,::1,${no_proxy-${NO_PROXY-}} # the tests and the demo ask servers on loopback
    export no_proxy
    set -- PATH="$PATH" HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}" LC_ALL=C.UTF-8 SSHAFT_ENVIRONMENT=clean \
        /bin/sh "$top/dev" "$@"
    for name in $kept; do
        ! value=$(printenv "$name") || set -- "$name=$value" "$@"
    done
    umask 022
    exec env -i "$@"
fi
