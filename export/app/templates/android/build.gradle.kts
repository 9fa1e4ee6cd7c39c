// A module of an Android app: include(":pocketface") in settings.gradle.kts, and implementation(project(":pocketface")).
plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "pocketface"
    compileSdk = 35
    defaultConfig {
        minSdk = 24
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }
    androidResources { noCompress += "tflite" } // compressed files cannot be mapped into memory
    sourceSets["main"].assets.srcDir("../models")
    sourceSets["androidTest"].assets.srcDir("../golden")
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:1.4.0")
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
}
