// A stand-in for WiFi of the ESP32 core.
#pragma once
struct WiFiClient {};
struct WiFiStation {
  void begin(const char*, const char*) {}
};
static WiFiStation WiFi;
