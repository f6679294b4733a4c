{% for line in header -%}
// {{ line }}
{% endfor -%}
//
// Rules of the existing network security group {{ settings.network_security_group }}. Deploying this touches no other rule of the
// group, and removes nothing: rules that went are in routes.delta.az.sh.
// Deploy: az deployment group create --resource-group {{ settings.resource_group | sh }}
{%- if settings.subscription %} --subscription {{ settings.subscription | sh }}{% endif %} --template-file nsg.bicep

resource group 'Microsoft.Network/networkSecurityGroups@2024-05-01' existing = {
  name: {{ settings.network_security_group | bicep }}
}
{% for rule in rules %}
resource {{ rule.symbol }} 'Microsoft.Network/networkSecurityGroups/securityRules@2024-05-01' = {
  parent: group
  name: {{ rule.name | bicep }}
  properties: {
    description: {{ rule.description | bicep }}
    direction: {{ rule.direction | bicep }}
    access: 'Allow'
    priority: {{ rule.priority }}
    protocol: {{ rule.protocol | bicep }}
{%- for end in [["source", rule.sources], ["destination", rule.destinations]] %}
{%- if end[1] | length == 1 %}
    {{ end[0] }}AddressPrefix: {{ end[1] | first | bicep }}
{%- else %}
    {{ end[0] }}AddressPrefixes: [
{%- for prefix in end[1] %}
      {{ prefix | bicep }}
{%- endfor %}
    ]
{%- endif %}
{%- endfor %}
    sourcePortRange: '*'
{%- if rule.ports | length == 1 %}
    destinationPortRange: {{ rule.ports | first | bicep }}
{%- else %}
    destinationPortRanges: [
{%- for port in rule.ports %}
      {{ port | bicep }}
{%- endfor %}
    ]
{%- endif %}
  }
{%- if rule.after %}
  dependsOn: [
    {{ rule.after.symbol }}
  ]
{%- endif %}
}
{% endfor %}
