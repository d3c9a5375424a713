{{/* Names and labels. A stage is called with (dict "root" $ "stage" "combine"). */}}
{{- define "andon.name" -}}
{{- if eq .root.Release.Name "andon" }}andon-{{ .stage }}{{ else }}{{ .root.Release.Name }}-andon-{{ .stage }}{{ end -}}
{{- end }}

{{- define "andon.selector" -}}
app.kubernetes.io/name: andon
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .stage }}
{{- end }}

{{- define "andon.labels" -}}
{{ include "andon.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What a stage has to itself: STAGE.env, the same file as elsewhere. */}}
{{- define "andon.facts" -}}
{{- range .root.Files.Lines (printf "files/config/%s.env" .stage) }}
{{- if and . (not (hasPrefix "#" .)) }}
{{- $pair := splitn "=" 2 . }}
{{ $pair._0 }}: {{ $pair._1 | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "andon.port" -}}
{{- $facts := include "andon.facts" . | fromYaml -}}
{{- get $facts "ANDON_METRICS_METRICS_PORT" -}}
{{- end }}

{{- define "andon.image" -}}
{{- with .root.Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.root.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* The pod's own settings: nobody's user, no rights, a root that is read-only. */}}
{{- define "andon.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "andon.container" -}}
image: {{ include "andon.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment: the stage's facts, and the site's addresses. */}}
{{- define "andon.environment" -}}
envFrom:
  - configMapRef: {name: {{ include "andon.name" . }}}
env:
  - {name: ANDON_KAFKA_BOOTSTRAP_SERVERS, value: {{ required "kafka.bootstrapServers: host:port, comma-separated" .root.Values.kafka.bootstrapServers | quote }}}
  - {name: ANDON_KAFKA_SECURITY_PROTOCOL, value: {{ .root.Values.kafka.securityProtocol | quote }}}
  - {name: ANDON_KAFKA_SASL_MECHANISM, value: {{ .root.Values.kafka.saslMechanism | quote }}}
  - {name: ANDON_KAFKA_TOPIC_PREFIX, value: {{ .root.Values.kafka.topicPrefix | quote }}}
  {{- if has .stage (list "archive" "migrate") }}
  - {name: ANDON_CLICKHOUSE_URL, value: {{ required "clickhouse.url: http(s)://host:port" .root.Values.clickhouse.url | quote }}}
  - {name: ANDON_CLICKHOUSE_CLUSTER, value: {{ .root.Values.clickhouse.cluster | quote }}}
  {{- end }}
  {{- if eq .stage "notify" }}
  - {name: ANDON_NOTIFY_ALERTMANAGER_URLS, value: {{ required "alertmanager.urls: http://host:port, comma-separated" .root.Values.alertmanager.urls | quote }}}
  {{- end }}
  {{- if has .stage (list "combine" "archive" "correlate") }}
  - name: ANDON_{{ upper .stage }}_SLOT
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
  {{- end }}
  {{- with (get .root.Values .stage) }}{{ with .extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}{{ end }}
{{- end }}

{{/* Where a stage finds things, the same everywhere: /etc/andon/andon.toml, /etc/andon/secrets, /etc/andon/trust. */}}
{{- define "andon.mounts" -}}
- {name: config, mountPath: /etc/andon/andon.toml, subPath: andon.toml, readOnly: true}
- {name: secrets, mountPath: /etc/andon/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if has .stage (list "archive" "notify") }}
{{- range $file, $_ := .root.Values.trust }}
- {name: trust, mountPath: /etc/andon/trust/{{ $file }}, subPath: {{ $file }}, readOnly: true}
{{- end }}
{{- end }}
{{- if eq .stage "correlate" }}
- {name: config, mountPath: /etc/andon/policy.toml, subPath: policy.toml, readOnly: true}
- {name: state, mountPath: /var/lib/andon}
{{- end }}
{{- if eq .stage "topics" }}
- {name: config, mountPath: /etc/andon/acls.toml, subPath: acls.toml, readOnly: true}
{{- end }}
{{- end }}

{{/* A stage's secrets, by reference: of the one Secret no more than this stage needs. */}}
{{- define "andon.volumes" -}}
{{- $account := dict "topics" "admin" | merge (dict "collect" "andon-collect" "combine" "andon-combine" "correlate" "andon-correlate" "archive" "andon-archive" "notify" "andon-notify") -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
- {name: config, configMap: {name: {{ include "andon.name" (dict "root" .root "stage" "config") }}}}
{{- if has .stage (list "archive" "notify" "correlate") }}
- {name: trust, configMap: {name: {{ include "andon.name" (dict "root" .root "stage" "trust") }}}}
{{- end }}
{{- if eq .stage "correlate" }}
- {name: key, secret: {secretName: {{ .root.Values.secretName }}, defaultMode: 0440, items: [{key: signing.key.pem, path: signing.key.pem}]}}
{{- end }}
- name: secrets
  secret:
    secretName: {{ .root.Values.secretName }}
    defaultMode: 0440
    items:
      {{- if ne .stage "migrate" }}
      - {key: ca.pem, path: ca.pem}
      - {key: kafka-{{ get $account .stage }}, path: kafka-password}
      {{- end }}
      {{- if has .stage (list "combine" "correlate") }}
      - {key: partials-secret, path: partials-secret}
      {{- end }}
      {{- if eq .stage "collect" }}
      - {key: tokens.toml, path: tokens.toml}
      {{- end }}
      {{- if eq .stage "archive" }}
      - {key: clickhouse-andon_write, path: clickhouse-password}
      {{- end }}
      {{- if eq .stage "migrate" }}
      - {key: clickhouse-andon, path: clickhouse-password}
      {{- end }}
{{- end }}

{{/* /healthz: whether to start it anew; /readyz: whether it does its work. */}}
{{- define "andon.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, failureThreshold: 60}
livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 15, timeoutSeconds: 5, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
{{- end }}

{{- define "andon.template" -}}
metadata:
  labels:
    {{- include "andon.labels" . | nindent 4 }}
    {{- with .root.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations: # what is mounted by a file's path is read once: a pod starts anew when it changes
    andon/config: {{ printf "%s %s %s" (toYaml .root.Values.trust) .root.Values.policy (.root.Files.Get "files/config/andon.toml") | sha256sum | trunc 16 | quote }}
spec:
  {{- include "andon.pod" . | nindent 2 }}
  terminationGracePeriodSeconds: 30
  {{- if ne .stage "correlate" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: { {{- include "andon.selector" . | fromYaml | toJson | trimPrefix "{" | trimSuffix "}" -}} }}
  {{- end }}
  {{- if eq .stage "correlate" }}
  initContainers: # a private key must be its reader's own file, and no link: it is copied once, what is trusted each time
    - name: keys
      {{- include "andon.container" . | nindent 6 }}
      command:
        - sh
        - -euc
        - |
          umask 077
          cd /var/lib/andon
          mkdir -p keys
          chmod 700 keys
          [ -e keys/signing.key.pem ] || cp /etc/andon/key/signing.key.pem keys/signing.key.pem
          chmod 600 keys/signing.key.pem
          for file in /etc/andon/trust/*.pub.pem /etc/andon/trust/*.revoked; do
              [ ! -e "$file" ] || install -m 644 "$file" keys/
          done
      resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
      volumeMounts:
        - {name: state, mountPath: /var/lib/andon}
        - {name: key, mountPath: /etc/andon/key, readOnly: true}
        - {name: trust, mountPath: /etc/andon/trust, readOnly: true}
  {{- end }}
  containers:
    - name: {{ .stage }}
      {{- include "andon.container" . | nindent 6 }}
      args: [{{ .stage }}]
      ports:
        - {name: metrics, containerPort: {{ include "andon.port" . }}}
        {{- if eq .stage "collect" }}
        - {name: http, containerPort: 8080}
        {{- end }}
      {{- include "andon.environment" . | nindent 6 }}
      {{- include "andon.probes" . | nindent 6 }}
      resources: {{ toYaml (get .root.Values .stage).resources | nindent 8 }}
      volumeMounts:
        {{- include "andon.mounts" . | nindent 8 }}
  volumes:
    {{- include "andon.volumes" . | nindent 4 }}
{{- end }}
