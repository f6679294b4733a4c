#!/bin/sh
{% for line in header -%}
# {{ line }}
{% endfor -%}
#
# What has gone since the rule set before this one, and priorities that make room for others. Run it once, before the full
# files are deployed; deleting what is not there is no error. It names only routes and rules that tagwall made.
set -eu
{% set common %}{% if settings.subscription %} --subscription {{ settings.subscription | sh }}{% endif %} --resource-group {{ settings.resource_group | sh }}{% endset -%}
{%- if settings.route_table %}
{%- for route in delta.routes %}
az network route-table route delete{{ common }} --route-table-name {{ settings.route_table | sh }} --name {{ route | sh }} --output 'none'
{%- endfor %}
{%- endif %}
{%- if settings.network_security_group %}
{%- for rule in delta.rules %}
az network nsg rule delete{{ common }} --nsg-name {{ settings.network_security_group | sh }} --name {{ rule | sh }} --output 'none'
{%- endfor %}
{%- for rule in delta.moves %}
az network nsg rule update{{ common }} --nsg-name {{ settings.network_security_group | sh }} --name {{ rule.name | sh }} --priority '{{ rule.priority }}' --output 'none'
{%- endfor %}
{%- endif %}
