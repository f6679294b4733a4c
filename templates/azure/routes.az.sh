#!/bin/sh
{% for line in header -%}
# {{ line }}
{% endfor -%}
#
# Routes of the existing table {{ settings.route_table }}. Running this creates or updates each and touches no other route or
# setting of the table; a second run changes nothing. It removes nothing: routes that went are in routes.delta.az.sh,
# to be run before this file.
set -eu
{% set common %}{% if settings.subscription %} --subscription {{ settings.subscription | sh }}{% endif %} --resource-group {{ settings.resource_group | sh }}{% endset -%}
{% for route in routes %}
# {{ route.comment }}
az network route-table route create{{ common }} --route-table-name {{ settings.route_table | sh }} --name {{ route.name | sh }} --address-prefix {{ route.destination | sh }} --next-hop-type {{ route.next_hop | sh }} --output 'none'
{% endfor %}
{%- if settings.associate_subnet %}
# Associates the table with the subnet, as `associate-subnet` asks for: it takes the place of the table that the subnet
# has now, with all of that one's routes.
az network vnet subnet update{{ common }} --vnet-name {{ settings.associate_network | sh }} --name {{ settings.associate_subnet | sh }} --route-table {{ settings.route_table | sh }} --output 'none'
{% endif %}
