package analyze

// All is every protocol that can be recognised, in the order they are tried.
var All = []Protocol{dnsUDP, dnsTCP, httpTCP, tlsTCP, sshTCP}
