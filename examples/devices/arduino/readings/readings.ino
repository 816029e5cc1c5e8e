// ESP32: sends a reading a minute at QoS 1 and keeps it in the flash until it is acknowledged.
// Libraries: "MQTT" by Joel Gaehwiler (2.5 or later); LittleFS and WiFi come with the core.

#include <Arduino.h>
#include <LittleFS.h>
#include <MQTT.h>
#include <WiFi.h>
#include <sys/time.h>

#include "settings.h"  // WIFI_NAME, WIFI_PASSWORD, HOST, PORT, USERNAME, PASSWORD, CLIENT, TOPIC, SECONDS

// Lines in two files, oldest first. The older one is given up when the newer one is full.
const char OLDER[] = "/readings.0";
const char NEWER[] = "/readings.1";
const char DONE[] = "/readings.done";  // bytes of the oldest file that are done with
const size_t MOST_BYTES = 100000;      // of each file

WiFiClient net;  // with TLS: WiFiClientSecure, with setCACert(...), and port 8883
MQTTClient mqtt(1024);  // bytes of the longest packet

float measure() { return analogRead(34) / 10.0; }

size_t sizeOf(const char* path) {
  if (!LittleFS.exists(path)) return 0;
  File file = LittleFS.open(path, "r");
  size_t size = file.size();
  file.close();
  return size;
}

void keep(const char* line) {
  if (sizeOf(NEWER) > MOST_BYTES) {
    if (sizeOf(OLDER)) {
      LittleFS.remove(OLDER);
      LittleFS.remove(DONE);
    }
    LittleFS.rename(NEWER, OLDER);
  }
  File file = LittleFS.open(NEWER, "a");
  file.println(line);
  file.close();
}

size_t bytesDone() {
  if (!LittleFS.exists(DONE)) return 0;
  File file = LittleFS.open(DONE, "r");
  size_t done = file.readStringUntil('\n').toInt();
  file.close();
  return done;
}

// Send what waits, oldest first, until one is not acknowledged.
void sendAll() {
  while (true) {
    const char* oldest = sizeOf(OLDER) ? OLDER : NEWER;
    size_t at = bytesDone();
    if (at >= sizeOf(oldest)) {
      LittleFS.remove(oldest);
      LittleFS.remove(DONE);
      if (oldest == NEWER) return;
      continue;
    }
    File file = LittleFS.open(oldest, "r");
    file.seek(at);
    String line = file.readStringUntil('\n');
    file.close();
    size_t length = line.length() + 1;
    line.trim();
    // With QoS 1, publish() is true when the broker has acknowledged the message.
    if (line.length() && !mqtt.publish(TOPIC, line.c_str(), false, 1)) return;
    File done = LittleFS.open(DONE, "w");
    done.println(String((unsigned long)(at + length)));
    done.close();
  }
}

void setup() {
  Serial.begin(115200);
  LittleFS.begin(true);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  configTime(0, 0, "pool.ntp.org");
  mqtt.begin(HOST, PORT, net);
  mqtt.setOptions(60, true, 10000);  // keep-alive in seconds, clean session, milliseconds that publish() waits
}

void loop() {
  static unsigned long measured = 0, tried = 0;
  static bool first = true;
  timeval now;
  gettimeofday(&now, nullptr);
  bool clockIsSet = now.tv_sec > 1700000000;
  if (clockIsSet && (first || millis() - measured >= SECONDS * 1000)) {
    first = false;
    measured = millis();
    char line[100];
    long long time = now.tv_sec * 1000LL + now.tv_usec / 1000;
    snprintf(line, sizeof line, "{\"time\": %lld, \"air_temperature\": %.1f}", time, measure());
    keep(line);
    Serial.println(line);
  }
  if (!mqtt.connected() && (tried == 0 || millis() - tried >= 1000)) {
    tried = millis() | 1;
    mqtt.connect(CLIENT, USERNAME, PASSWORD);
  }
  if (mqtt.connected()) {
    mqtt.loop();
    sendAll();
  }
  delay(10);
}
