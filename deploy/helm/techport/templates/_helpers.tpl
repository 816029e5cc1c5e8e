{{- define "techport.labels" -}}
app.kubernetes.io/name: techport
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* What selects the pods of a part: (list . "nats"). */ -}}
{{- define "techport.selector" -}}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* The hosts of the NATS servers, between a separator: (list . " " ""). */ -}}
{{- define "techport.servers" -}}
{{- $root := index . 0 -}}
{{- $names := list -}}
{{- range $number := until (int $root.Values.broker.servers) -}}
{{- $names = append $names (printf "%s-nats-%d.%s-nats%s" $root.Release.Name $number $root.Release.Name (index $ 2)) -}}
{{- end -}}
{{- join (index . 1) $names -}}
{{- end }}

{{- define "techport.store" -}}
{{- if .Values.store.url -}}
{{ .Values.store.url }}
{{- else -}}
{{- $names := list -}}
{{- range $number := until (int .Values.store.dataNode.nodes) -}}
{{- $names = append $names (printf "%s-iotdb-%d.%s-iotdb:6667" $.Release.Name $number $.Release.Name) -}}
{{- end -}}
iotdb://{{ join "," $names }}/techport?password_file=/run/secrets/iotdb_password
{{- end -}}
{{- end }}

{{- define "techport.registry" -}}
- {name: TECHPORT_REGISTRY, value: {{ default (printf "postgresql+psycopg://techport@%s-postgres:5432/techport" .Release.Name) .Values.registry.url | quote }}}
- {name: TECHPORT_REGISTRY_PASSWORD_FILE, value: /run/secrets/postgres_password}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- /* Broker, store and registry, as workers and web processes reach them. */ -}}
{{- define "techport.environment" -}}
{{ include "techport.registry" . }}
- {name: TECHPORT_MQTT, value: {{ printf "nats://%s" (include "techport.servers" (list . "," ":4222")) | quote }}}
- {name: TECHPORT_MQTT_CA, value: /run/secrets/mqtt_ca}
- {name: TECHPORT_STORE, value: {{ printf "%s%s" (include "techport.store" .) (ternary "" "&writers=several" (ne .Values.store.url "")) | quote }}}
{{- end }}

{{- /* Of a pod: (list 10001). */ -}}
{{- define "techport.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 0 }}
  runAsGroup: {{ index . 0 }}
  fsGroup: {{ index . 0 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "techport.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* The files of the secret that a part gets: (list . (list "mqtt_ca")), and with "store" those for the store. */ -}}
{{- define "techport.secrets" -}}
- name: secrets
  secret:
    secretName: {{ (index . 0).Values.secret }}
    defaultMode: 288 # 0440, of the pod's group
    items:
{{- $files := index . 1 }}
{{- if gt (len .) 2 }}
{{- $values := (index . 0).Values }}
{{- $files = concat $files (ternary $values.store.secrets (list "iotdb_password") (ne $values.store.url "")) }}
{{- end }}
{{- range $files }}
      - {key: {{ . }}, path: {{ . }}}
{{- end }}
- {name: tmp, emptyDir: {}}
{{- end }}

{{- define "techport.mounts" -}}
- {name: secrets, mountPath: /run/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- /* A claim of a StatefulSet: (list "data" "10Gi" "class"). */ -}}
{{- define "techport.claim" -}}
- metadata: {name: {{ index . 0 }}}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with index . 2 }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ index . 1 }}}}
{{- end }}

{{- /* Pods of a part on different machines: (list . "nats"). */ -}}
{{- define "techport.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: { {{- include "techport.selector" . | replace "\n" ", " -}} }}
{{- end }}
