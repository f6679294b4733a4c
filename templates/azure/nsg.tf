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
{%- for end in [["source", "     ", rule.sources], ["destination", "", rule.destinations]] %}
{%- if end[2] | length == 1 %}
  {{ end[0] }}_address_prefix {{ end[1] }} = {{ end[2] | first | hcl }}
{%- else %}
  {{ end[0] }}_address_prefixes{{ end[1] }} = [{% for prefix in end[2] %}{{ prefix | hcl }}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- endif %}
{%- endfor %}
  source_port_range           = "*"
{%- if rule.ports | length == 1 %}
  destination_port_range      = {{ rule.ports | first | hcl }}
{%- else %}
  destination_port_ranges     = [{% for port in rule.ports %}{{ port | hcl }}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- endif %}
}
{% endfor %}
