// A stand-in for the TLS client of the ESP32 core.
#pragma once
#include "WiFi.h"
struct WiFiClientSecure : WiFiClient {
  void setCACert(const char*) {}
};
