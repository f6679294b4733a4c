{% for line in header -%}
# {{ line }}
{% endfor -%}
#
# Rules of the existing network security group {{ settings.network_security_group }}. Applying this touches no other rule of the
# group. Rules that went from this file are removed by Terraform, whose state knows them.
# For provider azurerm 4{% if settings.subscription %}, subscription {{ settings.subscription }}{% endif %}.
{% for rule in rules %}
resource "azurerm_network_security_rule" "{{ rule.symbol }}" {
  name                        = {{ rule.name | hcl }}
  resource_group_name         = {{ settings.resource_group | hcl }}
  network_security_group_name = {{ settings.network_security_group | hcl }}
  description                 = {{ rule.description | hcl }}
  direction                   = {{ rule.direction | hcl }}
  access                      = "Allow"
  priority                    = {{ rule.priority }}
  protocol                    = {{ rule.protocol | hcl }}
{%- set wide %}{% if rule.destinations | length > 1 %}  {% endif %}{% endset %}
{% if rule.sources | length == 1 %}
  source_address_prefix      {{ wide }}= {{ rule.sources | first | hcl }}
{%- else %}
  source_address_prefixes    {{ wide }}= [{% for prefix in rule.sources %}{{ prefix | hcl }}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- endif %}
{%- if rule.destinations | length == 1 %}
  destination_address_prefix = {{ rule.destinations | first | hcl }}
{%- else %}
  destination_address_prefixes = [{% for prefix in rule.destinations %}{{ prefix | hcl }}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- endif %}
  source_port_range          {{ wide }}= "*"
{%- if rule.ports | length == 1 %}
  destination_port_range     {{ wide }}= {{ rule.ports | first | hcl }}
{%- else %}
  destination_port_ranges    {{ wide }}= [{% for port in rule.ports %}{{ port | hcl }}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- endif %}
}
{% endfor %}
