{% for line in header -%}
// {{ line }}
{% endfor -%}
//
{% if settings.whole_table -%}
// THE WHOLE TABLE {{ settings.route_table }}, as `whole-table` asks for. Deploying this deletes every route of the table that is
// not in this file, whoever made it.
{%- if settings.disable_bgp_propagation is none %} It also turns the propagation of gateway routes on, Azure's default.
{%- else %} It also turns the propagation of gateway routes {% if settings.disable_bgp_propagation %}off{% else %}on{% endif %}, as `disable-bgp-propagation` asks for.
{%- endif %}
{%- else -%}
// Routes of the existing table {{ settings.route_table }}. Deploying this touches no other route, setting or association of the
// table, and removes nothing: routes that went are in routes.delta.az.sh.
{%- endif %}
// Deploy: az deployment group create --resource-group {{ settings.resource_group | sh }}
{%- if settings.subscription %} --subscription {{ settings.subscription | sh }}{% endif %} --template-file routes.bicep
{% if settings.whole_table %}
resource table 'Microsoft.Network/routeTables@2024-05-01' = {
  name: {{ settings.route_table | bicep }}
  location: {{ settings.location | bicep }}
  properties: {
{%- if not settings.disable_bgp_propagation is none %}
    disableBgpRoutePropagation: {{ settings.disable_bgp_propagation }}
{%- endif %}
    routes: [
{%- for route in routes %}
      // {{ route.comment }}
      {
        name: {{ route.name | bicep }}
        properties: {
          addressPrefix: {{ route.destination | bicep }}
          nextHopType: {{ route.next_hop | bicep }}
{%- if route.next_hop_address %}
          nextHopIpAddress: {{ route.next_hop_address | bicep }}
{%- endif %}
        }
      }
{%- endfor %}
    ]
  }
}
{% else %}
resource table 'Microsoft.Network/routeTables@2024-05-01' existing = {
  name: {{ settings.route_table | bicep }}
}
{% for route in routes %}
// {{ route.comment }}
resource {{ route.symbol }} 'Microsoft.Network/routeTables/routes@2024-05-01' = {
  parent: table
  name: {{ route.name | bicep }}
  properties: {
    addressPrefix: {{ route.destination | bicep }}
    nextHopType: {{ route.next_hop | bicep }}
  }
{%- if route.after %}
  dependsOn: [
    {{ route.after.symbol }}
  ]
{%- endif %}
}
{% endfor %}
{%- endif %}
