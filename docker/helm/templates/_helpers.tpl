{{- define "cin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "cin.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "cin.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "cin.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "cin.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Other ones than the service's, which selects its pods by them. */}}
{{- define "cin.jobsLabels" -}}
app.kubernetes.io/name: {{ include "cin.name" . | trunc 58 | trimSuffix "-" }}-jobs
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cin.jobsName" -}}
{{- include "cin.fullname" . | trunc 58 | trimSuffix "-" }}-jobs
{{- end }}

{{- define "cin.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "cin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "cin.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "cin.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "cin.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag }}
{{- end }}
{{- end }}

{{/* What the service would refuse at start, or what would fail only later. */}}
{{- define "cin.check" -}}
{{- if not (or .Values.keys.existingSecret .Values.allowAnyone) }}
{{- fail "name a Secret with API keys in keys.existingSecret, or set allowAnyone=true where something else asks who they are" }}
{{- end }}
{{- $several := or .Values.keda.enabled (gt (int .Values.replicaCount) 1) }}
{{- if and $several (not (or .Values.records.url .Values.records.existingSecret)) }}
{{- fail "several replicas need one Redis: set records.url or records.existingSecret" }}
{{- end }}
{{- if and .Values.jobs.enabled (not (or .Values.jobs.url .Values.jobs.existingSecret)) }}
{{- fail "jobs need a Redis that writes to its disk: set jobs.url or jobs.existingSecret" }}
{{- end }}
{{- if and .Values.jobs.enabled (not (or .Values.records.url .Values.records.existingSecret)) }}
{{- fail "the predictions of jobs are kept in a Redis: set records.url or records.existingSecret" }}
{{- end }}
{{- if and .Values.bundle.existingClaim (not .Values.bundle.name) }}
{{- fail "say which bundle of bundle.existingClaim to serve: bundle.name" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled needs ingress.hosts" }}
{{- end }}
{{- end }}
