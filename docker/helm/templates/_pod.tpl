{{/* What the pods of the service and of the workers on jobs have in common. */}}
{{- define "cin.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "cin.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false  # their variables begin with the service's name, which may be CIN_
{{- with .Values.priorityClassName }}
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

{{- define "cin.container" -}}
image: {{ include "cin.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "cin.env" -}}
{{- if .Values.keys.existingSecret }}
- {name: CIN_KEYS, value: {{ printf "/keys/%s" .Values.keys.key | quote }}}
{{- end }}
{{- if .Values.allowAnyone }}
- {name: CIN_ALLOW_ANYONE, value: "true"}
{{- end }}
{{- with .Values.trustedProxies }}
- {name: CIN_TRUSTED_PROXIES, value: {{ . | quote }}}
{{- end }}
{{- if .Values.records.existingSecret }}
- name: CIN_RECORDS_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.records.existingSecret }}, key: {{ .Values.records.key }}}
{{- else if .Values.records.url }}
- {name: CIN_RECORDS_URL, value: {{ .Values.records.url | quote }}}
{{- end }}
{{- if .Values.jobs.enabled }}
{{- if .Values.jobs.existingSecret }}
- name: CIN_JOBS_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.jobs.existingSecret }}, key: {{ .Values.jobs.key }}}
{{- else }}
- {name: CIN_JOBS_URL, value: {{ .Values.jobs.url | quote }}}
{{- end }}
{{- end }}
{{- if .Values.audit.enabled }}
- {name: CIN_AUDIT, value: /audit/audit.jsonl}
{{- end }}
{{- if .Values.bundle.existingClaim }}
- {name: CIN_BUNDLE, value: {{ printf "/bundles/%s" .Values.bundle.name | quote }}}
{{- end }}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}{{- toYaml . | nindent 0 }}{{- end }}
{{- end }}

{{- define "cin.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.keys.existingSecret }}
- {name: keys, mountPath: /keys, readOnly: true}  # a whole folder: it follows changes of the Secret
{{- end }}
{{- if .Values.audit.enabled }}
- {name: audit, mountPath: /audit}
{{- end }}
{{- if .Values.bundle.existingClaim }}
- {name: bundles, mountPath: /bundles, readOnly: true}
{{- end }}
{{- end }}

{{- define "cin.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if .Values.keys.existingSecret }}
- name: keys
  secret: {secretName: {{ .Values.keys.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- if .Values.audit.enabled }}
- name: audit
  persistentVolumeClaim: {claimName: {{ .Values.audit.existingClaim | default (printf "%s-audit" (include "cin.fullname" .)) }}}
{{- end }}
{{- if .Values.bundle.existingClaim }}
- name: bundles
  persistentVolumeClaim: {claimName: {{ .Values.bundle.existingClaim }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "cin.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
