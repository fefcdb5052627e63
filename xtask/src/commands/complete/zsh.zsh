# Completes `cargo xtask` of kafka-lab. Other words of cargo are completed as before.
_kafka_lab_program=@PROGRAM@

# Offers what can come after "xtask"; its arguments are the words up to the current one.
_kafka_lab_offer() {
  local line
  local -a found
  for line in ${(f)"$($_kafka_lab_program complete -- "$@" 2>/dev/null)"}; do
    # In what _describe reads, a colon ends the value.
    found+=("${${line%%$'\t'*}//:/\\:}${${(M)line%$'\t'*}/#$'\t'/:}")
  done
  (( $#found )) && _describe -o 'cargo xtask' found || _default
}

# cargo's own completion calls this one; its first word is "xtask".
_cargo-xtask() {
  _kafka_lab_offer "${(@)words[2,CURRENT]}"
}

# Without cargo's own completion.
_kafka_lab_cargo() {
  local first=2
  [[ $words[2] == +* ]] && first=3
  if [[ $words[first] == xtask ]] && (( CURRENT > first )); then
    _kafka_lab_offer "${(@)words[first+1,CURRENT]}"
  else
    _default
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
[[ -n ${_comps[cargo]} ]] || compdef _kafka_lab_cargo cargo
