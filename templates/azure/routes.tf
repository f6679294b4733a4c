{% for line in header -%}
# {{ line }}
{% endfor -%}
#
{% if settings.whole_table -%}
# THE WHOLE TABLE {{ settings.route_table }}, as `whole-table` asks for. Applying this deletes every route of the table that is not
# in this file, whoever made it.
{%- if settings.disable_bgp_propagation is none %} It also turns the propagation of gateway routes on, Azure's default.
{%- else %} It also turns the propagation of gateway routes {% if settings.disable_bgp_propagation %}off{% else %}on{% endif %}, as `disable-bgp-propagation` asks for.
{%- endif %}
{%- else -%}
# Routes of the existing table {{ settings.route_table }}. Applying this touches no other route or setting of the table. Routes
# that went from this file are removed by Terraform, whose state knows them.
{%- endif %}
# For provider azurerm 4{% if settings.subscription %}, subscription {{ settings.subscription }}{% endif %}.
{% if settings.whole_table %}
resource "azurerm_route_table" "tagwall" {
  name                = {{ settings.route_table | hcl }}
  resource_group_name = {{ settings.resource_group | hcl }}
  location            = {{ settings.location | hcl }}
{%- if not settings.disable_bgp_propagation is none %}

  bgp_route_propagation_enabled = {% if settings.disable_bgp_propagation %}false{% else %}true{% endif %}
{%- endif %}
{%- for route in routes %}

  # {{ route.comment }}
  route {
    name           = {{ route.name | hcl }}
    address_prefix = {{ route.destination | hcl }}
    next_hop_type  = {{ route.next_hop | hcl }}
{%- if route.next_hop_address %}

    next_hop_in_ip_address = {{ route.next_hop_address | hcl }}
{%- endif %}
  }
{%- endfor %}
}
{% else %}
{%- for route in routes %}
# {{ route.comment }}
resource "azurerm_route" "{{ route.symbol }}" {
  name                = {{ route.name | hcl }}
  resource_group_name = {{ settings.resource_group | hcl }}
  route_table_name    = {{ settings.route_table | hcl }}
  address_prefix      = {{ route.destination | hcl }}
  next_hop_type       = {{ route.next_hop | hcl }}
}
{% endfor %}
{%- endif %}
{%- if settings.associate_subnet %}
# Associates the table with the subnet, as `associate-subnet` asks for: it takes the place of the table that the subnet
# has now, with all of that one's routes.
data "azurerm_subnet" "tagwall" {
  name                 = {{ settings.associate_subnet | hcl }}
  virtual_network_name = {{ settings.associate_network | hcl }}
  resource_group_name  = {{ settings.resource_group | hcl }}
}
{% if not settings.whole_table %}
data "azurerm_route_table" "tagwall" {
  name                = {{ settings.route_table | hcl }}
  resource_group_name = {{ settings.resource_group | hcl }}
}
{% endif %}
resource "azurerm_subnet_route_table_association" "tagwall" {
  subnet_id      = data.azurerm_subnet.tagwall.id
  route_table_id = {% if not settings.whole_table %}data.{% endif %}azurerm_route_table.tagwall.id
}
{% endif %}
