# One image for all programs: the factor (sshd and the agent, the default), the identity service (`sshaft identity serve`),
# SSH in the browser (`sshaft web`), and the others.
# docs/container.md says how to run it. Needs BuildKit: Docker 23 or newer, before that DOCKER_BUILDKIT=1.
# There is no "# syntax=" line on purpose: it would fetch a frontend image.
ARG BASE=docker.io/library/debian:trixie-slim

# No versions are asked of apt (DL3008): Debian keeps one of each package, the one with the security updates.
FROM ${BASE} AS terminal
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY tools/xterm tools/
COPY sshaft_web/pages/package.json sshaft_web/pages/package-lock.json sshaft_web/pages/
# The secrets are optional, as those of pip below.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=ca_crt \
    mkdir sshaft_web/pages/static \
 && tools/xterm

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev make python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock requirements-dev.lock ./
# pip and the build backend stay in /build: what runs later needs neither. setuptools has its hash in requirements-dev.lock only.
# Both secrets are optional, for networks with a package index or a certificate authority of their own.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca_crt \
    python3 -m venv /build \
 && python3 -m venv --without-pip /opt/sshaft \
 && awk '/^[^ #]/ { wanted = /^setuptools==/ } wanted' requirements-dev.lock >build.lock \
 && /build/bin/pip install --only-binary :all: --require-hashes -r build.lock \
 && /build/bin/pip download --only-binary :all: --no-deps --require-hashes --dest fetched -r requirements.lock \
 && /build/bin/pip --python /opt/sshaft/bin/python3 install --no-index --find-links fetched --no-deps --require-hashes -r requirements.lock
# What only a debugger reads is a fifth of all.
RUN find /opt/sshaft -name '*.so*' -type f -exec strip --strip-unneeded {} +
COPY . .
RUN make -C native install DESTDIR=/native
COPY --from=terminal /src/sshaft_web/pages/static/vendor sshaft_web/pages/static/vendor
# A wheel, not an editable install: nobody can write to it, and its .pyc files are made here, once.
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
 && /build/bin/pip --python /opt/sshaft/bin/python3 install --no-index --no-deps wheels/*.whl \
 && version=$(/opt/sshaft/bin/python3 -c 'import sshaft; print(sshaft.__version__)') \
 && python3 tools/sbom.py "$version" fetched sshaft_web/pages/package-lock.json /native/usr/share/doc/sshaft/sshaft.cdx.json

FROM ${BASE}
# The host keys that Debian's package makes would be the same in every container of this image.
# A program that gains rights when it is started (su, passwd, ssh-keysign) has no task here. Without
# systemd-standalone-sysusers Debian's sshd would bring all of systemd.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-server python3 systemd-standalone-sysusers \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/ssh/ssh_host_*_key* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# The ids never change: files on the host are given to them. Nobody can log in by password ("*"), and the homes hold nothing.
# The agent is in the groups of the two accounts it serves, so that it can give each its own socket.
RUN groupadd --system --gid 480 sshaft \
 && groupadd --system --gid 481 _sshaft-keys \
 && groupadd --system --gid 482 mfa \
 && groupadd --system --gid 483 sshaft-identity \
 && groupadd --system --gid 484 sshaft-web \
 && install -d -m 0755 /run/sshd /var/empty /sshaft \
 && install -d -m 0700 /etc/ssh/keys \
 && useradd --system --uid 481 --gid 481 --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin --password '*' _sshaft-keys \
 && useradd --system --uid 482 --gid 482 --no-create-home --home-dir /var/empty --shell /bin/sh --password '*' mfa \
 && useradd --system --uid 480 --gid 480 --groups _sshaft-keys,mfa --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin \
    --password '*' sshaft \
 && useradd --system --uid 483 --gid 483 --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin --password '*' sshaft-identity \
 && useradd --system --uid 484 --gid 484 --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin --password '*' sshaft-web \
 && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
 && install -d -m 0755 -o 480 -g 480 /run/sshaft \
 && install -d -m 0700 -o 480 -g 480 /var/lib/sshaft \
 && install -d -m 0700 -o 483 -g 483 /var/lib/sshaft-identity
COPY --from=build /opt/sshaft /opt/sshaft
COPY --from=build /native /
RUN ln -s /opt/sshaft/bin/sshaft /usr/local/bin/sshaft \
 && sshaft install-commands /usr/libexec/sshaft \
 && sshaft sshd-config >/etc/ssh/sshd_config \
 && ln -s /usr/libexec/sshaft/sshaft-keys-native /sshaft/keys \
 && ln -s /usr/libexec/sshaft/sshaft-login /sshaft/login
COPY --chmod=0755 container/entrypoint container/healthcheck container/first-start /usr/libexec/sshaft/
ENV SSHAFT_IDENTITY_DIRECTORY=/var/lib/sshaft-identity
LABEL org.opencontainers.image.title="sshaft" \
      org.opencontainers.image.description="An SSH login as an authentication factor of a web login" \
      org.opencontainers.image.licenses="GPL-3.0-or-later"
EXPOSE 2222
HEALTHCHECK --interval=30s --timeout=10s --start-period=15s --retries=3 CMD ["/usr/libexec/sshaft/healthcheck"]
ENTRYPOINT ["/usr/libexec/sshaft/entrypoint"]
