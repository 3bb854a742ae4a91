{{/* Names and labels */}}

{{- define "weir.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "weir.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "weir.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "weir.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "weir.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "weir.claimName" -}}
{{- default (printf "%s-models" (include "weir.fullname" .)) .Values.persistence.existingClaim }}
{{- end }}

{{/* What follows from the configuration, so that it is said once */}}

{{/* The port of http.listen. */}}
{{- define "weir.port" -}}
{{- splitList ":" .Values.config.http.listen | last }}
{{- end }}

{{/* The directory of a file: store, where the volume with the bundles is mounted. */}}
{{- define "weir.storePath" -}}
{{- $url := .Values.config.store.url }}
{{- if not (hasPrefix "file:/" $url) }}
{{- fail (printf "config.store.url is %q: the volume needs an absolute path such as file:/models, or set persistence.enabled=false" $url) }}
{{- end }}
{{- trimPrefix "file:" $url }}
{{- end }}

{{/*
Longer than a stop may take, so that the kubelet never kills a worker before its last commit: the drain, then up to 5 s to
leave the group and 5 s for open requests, and some to spare.
*/}}
{{- define "weir.gracePeriod" -}}
{{- add 20 (ceil (divf .Values.config.worker.drain_timeout_ms 1000)) }}
{{- end }}

{{/*
weir.toml. helm's own toToml writes every number of a values file as a float (512.0, 1.048576e+06), which an integer
key refuses. So the tables are written here, and their values as JSON: its strings, numbers, booleans and arrays are TOML too.
*/}}
{{- define "weir.toml" -}}
{{- $config := deepCopy .Values.config }}
{{- $properties := dict }}
{{- range $key, $value := $config.kafka.properties }}
{{- if has $key (list "sasl.password" "ssl.key.password" "ssl.keystore.password" "ssl.key.pem" "sasl.oauthbearer.client.secret") }}
{{- fail (printf "config.kafka.properties.%s would stand readable in a ConfigMap: keep it in a Secret and set WEIR__KAFKA__PROPERTIES__%s by extraEnv" $key ($key | upper | replace "." "_")) }}
{{- end }}
{{- /* librdkafka's properties are all strings. */}}
{{- $_ := set $properties $key (kindIs "string" $value | ternary $value (toRawJson $value)) }}
{{- end }}
{{- $_ := set $config.kafka "properties" $properties }}
{{- range $section, $table := $config }}
[{{ $section }}]
{{- include "weir.toml.table" (dict "path" $section "table" $table) }}
{{ end }}
{{- range .Values.routes }}
[[route]]
{{- include "weir.toml.table" (dict "path" "route" "table" .) }}
{{ end }}
{{- end }}

{{- define "weir.toml.table" -}}
{{- $path := .path }}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "weir.toml.key" $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $inner := printf "%s.%s" $path (include "weir.toml.key" $key) }}

[{{ $inner }}]
{{- include "weir.toml.table" (dict "path" $inner "table" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "weir.toml.key" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toRawJson .) }}
{{- end }}

{{/* Static members need pods that come back under their names. */}}
{{- define "weir.workloadKind" -}}
{{ ternary "StatefulSet" "Deployment" (default false .Values.config.worker.static_membership) }}
{{- end }}
