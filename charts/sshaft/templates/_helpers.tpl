{{- define "sshaft.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* The labels that choose the pods of one part: (list $ "identity") */ -}}
{{- define "sshaft.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* The metadata of an object of one part, without what follows its labels: (list $ "identity") */ -}}
{{- define "sshaft.metadata" -}}
name: {{ include "sshaft.name" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "sshaft.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
  helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "sshaft.image" -}}
{{- $repository := required "image.repository: push the image of `docker build` to your registry, and name it here" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- $repository }}@{{ .Values.image.digest -}}
{{- else -}}
{{- $repository }}:{{ .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}
{{- end }}

{{- /* What all pods have in common: (list $ "identity" $.Values.identity) */ -}}
{{- define "sshaft.pod" -}}
serviceAccountName: {{ include "sshaft.name" (index . 0) }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
topologySpreadConstraints:
  {{- $selector := include "sshaft.selector" . }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- with (index . 2).nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What an ordinary account of a program may do, in each container. */ -}}
{{- define "sshaft.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The NetworkPolicy of a part that pods behind a proxy reach: (list $ "identity" $.Values.identity PORT METRICS-PORT) */ -}}
{{- define "sshaft.networkPolicy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "sshaft.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "sshaft.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{port: {{ index . 3 }}}]
      {{- with (index . 2).networkPolicy.from }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if and $root.Values.metrics.enabled (index . 4) }}
    - ports: [{port: {{ index . 4 }}}]
      from:
        {{- toYaml $root.Values.metrics.from | nindent 8 }}
    {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- with (index . 2).networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* The Ingress of a part: (list $ "identity" $.Values.identity) */ -}}
{{- define "sshaft.ingress" -}}
{{- $part := index . 2 -}}
{{- $host := (urlParse $part.config.public_url).host -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "sshaft.metadata" . | nindent 2 }}
  {{- with $part.ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $part.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    - hosts: [{{ $host | quote }}]
      {{- with $part.ingress.tlsSecretName }}
      secretName: {{ . }}
      {{- end }}
  rules:
    - host: {{ $host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "sshaft.name" (index . 0) }}-{{ index . 1 }}
                port: {name: http}
{{- end }}
