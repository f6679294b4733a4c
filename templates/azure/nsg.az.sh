#!/bin/sh
{% for line in header -%}
# {{ line }}
{% endfor -%}
#
# Rules of the existing network security group {{ settings.network_security_group }}. Running this creates or updates each and
# touches no other rule of the group; a second run changes nothing. It removes nothing: rules that went are in
# routes.delta.az.sh, to be run before this file.
set -eu
{% set common %}{% if settings.subscription %} --subscription {{ settings.subscription | sh }}{% endif %} --resource-group {{ settings.resource_group | sh }}{% endset -%}
{% for rule in rules %}
az network nsg rule create{{ common }} --nsg-name {{ settings.network_security_group | sh }} --name {{ rule.name | sh }} --description {{ rule.description | sh }} --direction {{ rule.direction | sh }} --access 'Allow' --priority '{{ rule.priority }}' --protocol {{ rule.protocol | sh }} --source-address-prefixes{% for prefix in rule.sources %} {{ prefix | sh }}{% endfor %} --source-port-ranges '*' --destination-address-prefixes{% for prefix in rule.destinations %} {{ prefix | sh }}{% endfor %} --destination-port-ranges{% for port in rule.ports %} {{ port | sh }}{% endfor %} --output 'none'
{%- endfor %}
